// CheckThreads alone, for a sanitizer: what it does not call is not linked.
#include "driver.h"

int main() { return neonext::CheckThreads() ? 1 : 0; }
