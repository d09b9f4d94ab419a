#include "neo_cell_grad.h"

extern "C" __global__ __aicore__ void neo_cell_grad(GM_ADDR x, GM_ADDR a, GM_ADDR b, GM_ADDR dy, GM_ADDR dx, GM_ADDR da,
                                                    GM_ADDR db, GM_ADDR workspace, GM_ADDR tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIC_ONLY);
  REGISTER_TILING_DEFAULT(neocell::Tiling);
  GET_TILING_DATA_WITH_STRUCT(neocell::Tiling, plan, tiling);
  AscendC::TPipe pipe;
  neocell::Grad<DTYPE_X> kernel;
  kernel.Init(x, a, b, dy, dx, da, db, plan, &pipe);
  kernel.Process();
}
