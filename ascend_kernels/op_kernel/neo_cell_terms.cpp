#include "neo_cell_terms.h"

extern "C" __global__ __aicore__ void neo_cell_terms(GM_ADDR x, GM_ADDR a, GM_ADDR b, GM_ADDR y, GM_ADDR workspace,
                                                     GM_ADDR tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIC_ONLY);
  REGISTER_TILING_DEFAULT(neocell::Tiling);
  GET_TILING_DATA_WITH_STRUCT(neocell::Tiling, plan, tiling);
  AscendC::TPipe pipe;
  neocell::Terms<DTYPE_X> kernel;
  kernel.Init(x, a, b, y, plan, &pipe);
  kernel.Process();
}
