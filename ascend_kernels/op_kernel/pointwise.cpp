#include "pointwise_cube.h"

extern "C" __global__ __aicore__ void pointwise(GM_ADDR x, GM_ADDR w, GM_ADDR b, GM_ADDR y, GM_ADDR workspace,
                                                GM_ADDR tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIC_ONLY);
  REGISTER_TILING_DEFAULT(neocell::PointwiseTiling);
  GET_TILING_DATA_WITH_STRUCT(neocell::PointwiseTiling, plan, tiling);
  AscendC::TPipe pipe;
  neocell::RunProduct<DTYPE_X, false, neocell::OutputSink<DTYPE_X>>(x, w, b, y, plan, &pipe);
}
