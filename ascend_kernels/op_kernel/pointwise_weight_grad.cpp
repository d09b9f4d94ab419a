#include "pointwise_weight_grad.h"

extern "C" __global__ __aicore__ void pointwise_weight_grad(GM_ADDR dy, GM_ADDR x, GM_ADDR dw, GM_ADDR db,
                                                            GM_ADDR workspace, GM_ADDR tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIC_ONLY);
  REGISTER_TILING_DEFAULT(neocell::PointwiseTiling);
  GET_TILING_DATA_WITH_STRUCT(neocell::PointwiseTiling, plan, tiling);
  AscendC::TPipe pipe;
  neocell::PointwiseWeightGrad<DTYPE_X> kernel;
  kernel.Init(dy, x, dw, db, plan, &pipe);
  kernel.Process();
}
