// asc-devkit's kernel_operator.h includes interfaces that need headers of an NPU compiler; the basic ones suffice here.
#include "kernel_basic_intf.h"
