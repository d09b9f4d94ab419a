#include "pointwise_mlp.h"

extern "C" __global__ __aicore__ void pointwise_mlp(GM_ADDR x, GM_ADDR w1, GM_ADDR b1, GM_ADDR w2, GM_ADDR b2,
                                                    GM_ADDR r, GM_ADDR s, GM_ADDR y, GM_ADDR workspace,
                                                    GM_ADDR tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);
  REGISTER_TILING_DEFAULT(neocell::MlpTiling);
  GET_TILING_DATA_WITH_STRUCT(neocell::MlpTiling, plan, tiling);
  AscendC::TPipe pipe;
  if ASCEND_IS_AIC {
    neocell::Product<DTYPE_X> products[] = {neocell::MlpProduct<DTYPE_X>(plan.first, w1, b1),
                                            neocell::MlpProduct<DTYPE_X>(plan.second, w2, b2)};
    neocell::MlpOrder order;
    order.Init(plan, AscendC::GetBlockIdx());
    neocell::MlpSource<DTYPE_X> source;
    source.Init(x, workspace, plan);
    neocell::WorkspaceSink<DTYPE_X> sink;
    sink.Init(workspace);
    neocell::PointwiseCube<DTYPE_X, false, neocell::WorkspaceSink<DTYPE_X>, neocell::MlpOrder,
                           neocell::MlpSource<DTYPE_X>>
        cube;
    cube.Init(products, 2, order, &pipe);
    cube.Process(source, sink);
  }
  if ASCEND_IS_AIV {
    neocell::MlpEpilogue<DTYPE_X> epilogue;
    epilogue.Init(r, s, y, workspace, plan, &pipe);
    neocell::RunMlpVector(epilogue, workspace, plan, &pipe);
  }
}
