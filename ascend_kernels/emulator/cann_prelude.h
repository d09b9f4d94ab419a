// Included before everything in the tier with CANN's headers: the macro that CANN's operator compiler generates.
#ifndef EMULATOR_CANN_PRELUDE_H
#define EMULATOR_CANN_PRELUDE_H
#include <cstring>

#define GET_TILING_DATA_WITH_STRUCT(type, name, address) \
  type name;                                             \
  std::memcpy(&name, address, sizeof(type))
#endif
