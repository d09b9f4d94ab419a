#include "neo_cell_kron.h"

extern "C" __global__ __aicore__ void neo_cell_kron(GM_ADDR x, GM_ADDR k, GM_ADDR y, GM_ADDR workspace,
                                                    GM_ADDR tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIC_ONLY);
  REGISTER_TILING_DEFAULT(neocell::Tiling);
  GET_TILING_DATA_WITH_STRUCT(neocell::Tiling, plan, tiling);
  AscendC::TPipe pipe;
  neocell::Kron<DTYPE_X> kernel;
  kernel.Init(x, k, y, plan, &pipe);
  kernel.Process();
}
