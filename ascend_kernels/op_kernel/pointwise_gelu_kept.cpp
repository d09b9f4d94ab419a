#include "pointwise_epilogue.h"

extern "C" __global__ __aicore__ void pointwise_gelu_kept(GM_ADDR x, GM_ADDR w, GM_ADDR b, GM_ADDR y, GM_ADDR z,
                                                          GM_ADDR workspace, GM_ADDR tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);
  REGISTER_TILING_DEFAULT(neocell::PointwiseTiling);
  GET_TILING_DATA_WITH_STRUCT(neocell::PointwiseTiling, plan, tiling);
  AscendC::TPipe pipe;
  if ASCEND_IS_AIC {
    neocell::RunProduct<DTYPE_X, false, neocell::WorkspaceSink<DTYPE_X>>(x, w, b, workspace, plan, &pipe);
  }
  if ASCEND_IS_AIV {
    neocell::GeluEpilogue<DTYPE_X, true> epilogue;
    epilogue.Init(y, z, plan, &pipe);
    neocell::RunEpilogue(epilogue, workspace, plan, plan.out, &pipe);
  }
}
