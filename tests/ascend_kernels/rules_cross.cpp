// Rules between the cores of an AI core: flags, the workspace, and kinds of cores.
#include "rules.h"

namespace rules {
namespace {

// A product that the cube core leaves in the workspace, 16 rows of 16 floats, as often as asked.
struct CubeSide {
  Cube cube;
  GlobalTensor<float> slot;

  CubeSide(GM_ADDR half_gm, GM_ADDR workspace) : cube(half_gm), slot(Floats(workspace)) {
    cube.Fill();
    cube.Multiply();
    Order<HardEvent::M_FIX>();
  }
  void Store() { Fixpipe<float, float, CFG_ROW_MAJOR>(slot, cube.l0c.Get<float>(), rules::Store(16, 16)); }
};

// A vector core takes 8 of the rows to the output.
struct VectorSide {
  TPipe pipe;
  UB ub;
  GlobalTensor<float> slot, y;

  VectorSide(GM_ADDR gm, GM_ADDR workspace) {
    pipe.InitBuffer(ub, 512);
    slot = Floats(workspace)[GetSubBlockIdx() * 128];
    y = Floats(gm)[GetSubBlockIdx() * 128];
  }
  void Load() { DataCopy(ub.Get<float>(), slot, 128); }
  void Store() {
    Order<HardEvent::MTE2_MTE3>();
    DataCopy(y, ub.Get<float>(), 128);
  }
};

MIXED(hand_over, "") {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);
  if (ASCEND_IS_AIC) {
    CubeSide side(half_gm, workspace);
    for (int i = 0; i < 3; ++i) {
      if (i > 0) {
        CrossCoreWaitFlag(1);
      }
      side.Store();
      CrossCoreSetFlag<2, PIPE_FIX>(0);
    }
  } else {
    VectorSide side(gm, workspace);
    for (int i = 0; i < 3; ++i) {
      CrossCoreWaitFlag(0);
      side.Load();
      if (i < 2) {
        CrossCoreSetFlag<2, PIPE_MTE2>(1);
      }
    }
    side.Store();
  }
}

MIXED(workspace_read_early, "reads workspace at offset 0, which nobody wrote") {
  if (ASCEND_IS_AIC) {
    CrossCoreWaitFlag(0);
  } else {
    VectorSide side(gm, workspace);
    side.Load();
    CrossCoreSetFlag<2, PIPE_MTE2>(0);
  }
}

MIXED(workspace_without_flag, "race (read after write): DataCopy(GM to UB) on pipe MTE2 of vector core 0") {
  if (ASCEND_IS_AIC) {
    CubeSide side(half_gm, workspace);
    side.Store();
  } else {
    VectorSide side(gm, workspace);
    side.Load();
  }
}

MIXED(workspace_flag_of_another_pipe, "race (read after write): DataCopy(GM to UB) on pipe MTE2 of vector core 0") {
  if (ASCEND_IS_AIC) {
    CubeSide side(half_gm, workspace);
    side.Store();
    CrossCoreSetFlag<2, PIPE_M>(0);
  } else {
    VectorSide side(gm, workspace);
    CrossCoreWaitFlag(0);
    side.Load();
  }
}

MIXED(workspace_reused, "race (write after read): Fixpipe(L0C to GM) on pipe FIX of cube core") {
  if (ASCEND_IS_AIC) {
    CubeSide side(half_gm, workspace);
    side.Store();
    CrossCoreSetFlag<2, PIPE_FIX>(0);
    CrossCoreWaitFlag(1);  // set before the slot is read
    side.Store();
  } else {
    VectorSide side(gm, workspace);
    CrossCoreWaitFlag(0);
    CrossCoreSetFlag<2, PIPE_MTE2>(1);
    side.Load();
  }
}

TWO_CORES(workspace_shared, "is used by two AI cores") {
  if (ASCEND_IS_AIC) {
    CubeSide side(half_gm, workspace);
    side.Store();
  }
}

MIXED(cross_never_set, "CrossCoreWaitFlag 0 on vector core 0: nobody sets it, the core would hang") {
  if (ASCEND_IS_AIV) {
    CrossCoreWaitFlag(0);
  }
}

MIXED(cross_set_by_one, "CrossCoreWaitFlag 3 on cube core: nobody sets it") {
  if (ASCEND_IS_AIC) {
    CrossCoreWaitFlag(3);
  } else if (GetSubBlockIdx() == 0) {
    CrossCoreSetFlag<2, PIPE_V>(3);
  }
}

MIXED(cross_left_set, "cross-core flag 2 is left set, by or for vector core 0") {
  if (ASCEND_IS_AIC) {
    CrossCoreSetFlag<2, PIPE_FIX>(2);
  }
}

MIXED(cross_too_often, "set more than 15 times ahead of its waits") {
  if (ASCEND_IS_AIC) {
    for (int i = 0; i < 16; ++i) {
      CrossCoreSetFlag<2, PIPE_FIX>(2);
    }
  }
}

MIXED(cross_id, "flag ids are 0..10, given 11") {
  if (ASCEND_IS_AIC) {
    CrossCoreSetFlag<2, PIPE_FIX>(11);
  }
}

MIXED(cross_mode, "mode 2 joins the cube core and its vector cores; no other is modelled, given 0") {
  CrossCoreSetFlag<0, PIPE_MTE2>(1);
}

MIXED(cross_pipe, "a cube core has no pipe MTE3") {
  if (ASCEND_IS_AIC) {
    CrossCoreSetFlag<2, PIPE_MTE3>(1);
  }
}

MIXED(cross_pipe_of_vector, "a vector core has no pipe FIX") {
  if (ASCEND_IS_AIV) {
    CrossCoreSetFlag<2, PIPE_FIX>(1);
  }
}

KERNEL(cross_alone, "the kernel's type must have cube and vector cores") { CrossCoreSetFlag<2, PIPE_FIX>(1); }

KERNEL(task_type, "the operator was launched on other kinds of cores") {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);
}

}  // namespace
}  // namespace rules
