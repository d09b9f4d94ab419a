#include "pointwise_cube.h"

extern "C" __global__ __aicore__ void pointwise_input_grad(GM_ADDR dy, GM_ADDR w, GM_ADDR dx, GM_ADDR workspace,
                                                           GM_ADDR tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIC_ONLY);
  REGISTER_TILING_DEFAULT(neocell::PointwiseTiling);
  GET_TILING_DATA_WITH_STRUCT(neocell::PointwiseTiling, plan, tiling);
  AscendC::TPipe pipe;
  neocell::RunProduct<DTYPE_DY, true, neocell::OutputSink<DTYPE_DY>>(dy, w, nullptr, dx, plan, &pipe);
}
