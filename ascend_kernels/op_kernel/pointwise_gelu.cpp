#include "pointwise_epilogue.h"

extern "C" __global__ __aicore__ void pointwise_gelu(GM_ADDR x, GM_ADDR w, GM_ADDR b, GM_ADDR y, GM_ADDR workspace,
                                                     GM_ADDR tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);
  REGISTER_TILING_DEFAULT(neocell::PointwiseTiling);
  GET_TILING_DATA_WITH_STRUCT(neocell::PointwiseTiling, plan, tiling);
  AscendC::TPipe pipe;
  if ASCEND_IS_AIC {
    neocell::WorkspaceSink sink;
    neocell::PointwiseCube<DTYPE_X, false, neocell::WorkspaceSink> cube;
    sink.Init(workspace);
    cube.Init(x, w, b, plan, &pipe);
    cube.Process(sink);
  }
  if ASCEND_IS_AIV {
    using Epilogue = neocell::GeluEpilogue<DTYPE_X, false>;
    Epilogue epilogue;
    neocell::PointwiseVector<Epilogue> vector;
    epilogue.Init(y, nullptr, plan, &pipe);
    vector.Init(workspace, plan, plan.out, &pipe);
    vector.Process(epilogue);
  }
}
