#include "pointwise_epilogue.h"

extern "C" __global__ __aicore__ void pointwise_gelu_grad(GM_ADDR dy, GM_ADDR w, GM_ADDR z, GM_ADDR dz,
                                                          GM_ADDR workspace, GM_ADDR tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);
  REGISTER_TILING_DEFAULT(neocell::PointwiseTiling);
  GET_TILING_DATA_WITH_STRUCT(neocell::PointwiseTiling, plan, tiling);
  AscendC::TPipe pipe;
  if ASCEND_IS_AIC {
    neocell::RunProduct<DTYPE_DY, true, neocell::WorkspaceSink<DTYPE_DY>>(dy, w, nullptr, workspace, plan, &pipe);
  }
  if ASCEND_IS_AIV {
    neocell::GeluGradEpilogue<DTYPE_DY> epilogue;
    epilogue.Init(z, dz, plan, &pipe);
    neocell::RunEpilogue(epilogue, workspace, plan, plan.in, &pipe);
  }
}
