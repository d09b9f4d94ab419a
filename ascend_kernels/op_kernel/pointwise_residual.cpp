#include "pointwise_epilogue.h"

extern "C" __global__ __aicore__ void pointwise_residual(GM_ADDR x, GM_ADDR w, GM_ADDR b, GM_ADDR r, GM_ADDR s,
                                                         GM_ADDR y, GM_ADDR workspace, GM_ADDR tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);
  REGISTER_TILING_DEFAULT(neocell::PointwiseTiling);
  GET_TILING_DATA_WITH_STRUCT(neocell::PointwiseTiling, plan, tiling);
  AscendC::TPipe pipe;
  if ASCEND_IS_AIC {
    neocell::RunProduct<DTYPE_X, false, neocell::WorkspaceSink<DTYPE_X>>(x, w, b, workspace, plan, &pipe);
  }
  if ASCEND_IS_AIV {
    neocell::ResidualEpilogue<DTYPE_X> epilogue;
    epilogue.Init(r, s, y, plan, &pipe);
    neocell::RunEpilogue(epilogue, workspace, plan, plan.out, &pipe);
  }
}
