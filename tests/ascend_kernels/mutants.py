"""Mistakes that the emulator or the tests must notice: each replaces one text of a kernel source that occurs once.

(name, file, text, replacement, what the rejection must say)
"""

CUBE, FORWARD, KRON, GRAD, TILING = (
    "op_kernel/neo_cell_cube.h", "op_kernel/neo_cell.h", "op_kernel/neo_cell_kron.h", "op_kernel/neo_cell_grad.h",
    "common/neo_cell_tiling.h")

MUTANTS = [
    # ---- events
    ("FIX to MTE1 event set but not awaited", CUBE,
     "        AscendC::WaitFlag<HardEvent::FIX_MTE1>(filled_[reader_]);\n", "", "race (read after write)"),
    ("FIX to MTE1 event awaited but not set", CUBE,
     "        AscendC::SetFlag<HardEvent::FIX_MTE1>(filled_[writer_]);\n", "", "nobody set it"),
    ("FIX to MTE1 event missing", CUBE,
     [("        AscendC::WaitFlag<HardEvent::FIX_MTE1>(filled_[reader_]);\n", ""),
      ("        AscendC::SetFlag<HardEvent::FIX_MTE1>(filled_[writer_]);\n", "")], "", "race (read after write)"),
    ("product published again at the end", FORWARD,
     "        aL1_.FreeTensor(a);\n", "        aL1_.FreeTensor(a);\n        product_.Publish();\n", "left set|set twice"),
    ("sums stored before they are complete", GRAD, "        Order<HardEvent::M_FIX>();\n", "", "race (read after write)"),
    ("barrier between accumulating products removed", GRAD, "            AscendC::PipeBarrier<PIPE_M>();\n", "", "PipeBarrier<PIPE_M>"),
    ("event id out of range", CUBE, "filled_[i] = pipe->AllocEventID<HardEvent::FIX_MTE1>();", "filled_[i] = 8 + i;", "event ids are 0..7"),
    # ---- queues
    ("X never freed", FORWARD, "        xL1_.FreeTensor(x);\n", "", "never freed"),
    ("A never freed", FORWARD, "        aL1_.FreeTensor(a);\n", "", "FreeTensor is missing|never freed"),
    ("Kronecker matrix freed after every tile", KRON, "if (nextChannel != channel) { kL1_.FreeTensor(matrix_); }",
     "kL1_.FreeTensor(matrix_);", "must be dequeued, it is free"),
    ("L0C freed before it is stored", FORWARD,
     [("        LocalTensor<float> result = l0c_.template DeQue<float>();\n        uint32_t plane",
       "        LocalTensor<float> result = l0c_.template DeQue<float>();\n        l0c_.FreeTensor(result);\n        uint32_t plane"),
      ("StorePlanes(y_[target], result[i * ho_ * FRACTAL_ELEMENTS], channels_, t_.outHeight, t_.outWidth, tall * FRACTAL,\n"
       "                        tall * wo_, plane);\n        }\n        l0c_.FreeTensor(result);",
       "StorePlanes(y_[target], result[i * ho_ * FRACTAL_ELEMENTS], channels_, t_.outHeight, t_.outWidth, tall * FRACTAL,\n"
       "                        tall * wo_, plane);\n        }")], "", "race (write after read)"),
    ("operands used without EnQue and DeQue", GRAD,
     "        l0a_.EnQue(left_);\n        l0b_.EnQue(right_);\n        left_ = l0a_.template DeQue<T>();\n"
     "        right_ = l0b_.template DeQue<T>();\n", "", "race (read after write)"),
    ("X freed before its second use", GRAD,
     [("            AddToDa(t2, x, n == first);", "            xL1_.FreeTensor(x);\n            AddToDa(t2, x, n == first);"),
      ("            xL1_.FreeTensor(x);\n            dyL1_", "            dyL1_")], "", "race (write after read)"),
    ("queue deeper than its depth", FORWARD, "TQue<TPosition::B1, TILES_IN_FLIGHT> xL1_;", "TQue<TPosition::B1, 1> xL1_;", "has depth 1"),
    # ---- layouts
    ("right operand not transposed", CUBE, "LoadReordered(l0b, l1, count, rows, columns, true);",
     "LoadReordered(l0b, l1, count, rows, columns, false);", "error"),
    ("left operand transposed", CUBE, "LoadReordered(l0a, l1, count, rows, columns, false);",
     "LoadReordered(l0a, l1, count, rows, columns, true);", "error"),
    ("transposed left operand not transposed", CUBE, "LoadRun(l0a, l1, fractals, 1, 1, true);", "LoadRun(l0a, l1, fractals, 1, 1, false);", "error"),
    ("fractals of many matrices in column order", CUBE,
     "uint32_t row = i / columns, column = i % columns;", "uint32_t row = i % rows, column = i / rows;", "error"),
    ("gap of a run counted from its start", CUBE, "p.dstGap = U16(step - 1);", "p.dstGap = U16(step);", "nobody wrote"),
    ("NZ columns as high as the true rows", CUBE, "p.dstNzC0Stride = U16(Blocks(rows) * FRACTAL);", "p.dstNzC0Stride = U16(rows);", "error"),
    ("operands of Mmad exchanged", CUBE, "AscendC::Mmad(l0c, l0a, l0b, p);", "AscendC::Mmad(l0c, l0b, l0a, p);", "left operand must be in L0A"),
    # ---- strides and sizes
    ("matrix stride of Nd2Nz off by a row", CUBE, "p.srcNdMatrixStride = U16(rows * columns);",
     "p.srcNdMatrixStride = U16(rows * columns + columns);", "pass the end"),
    ("GM stride of the results wrong", FORWARD, "tall * wo_, plane);", "tall * wo_, plane + 1);", "written twice|pass the end|error"),
    ("L0C stride of the results forgets the images", FORWARD, "t_.outWidth, tall * FRACTAL,\n", "t_.outWidth, ho_ * FRACTAL,\n", "error|written|cover"),
    ("rounding of the product to float32", CUBE, "p.dstStride = blockRows;  // units of 32 B, that is one row of a fractal\n    p.quantPre = QuantOf<T>::value;",
     "p.dstStride = blockRows;\n    p.quantPre = QuantOf<float>::value;", "quantPre"),
    ("Kronecker rows C apart instead of C * D", KRON, "p.srcDValue = U16(t_.channels * t_.width);", "p.srcDValue = U16(t_.channels);", "at least dValue|error"),
    ("Mmad on a single row", KRON, "Multiply(result, left, right, Blocks(images) * FRACTAL,", "Multiply(result, left, right, images == 37 ? 1 : images,", "m must be 2"),
    ("k includes the padding of the rows", FORWARD, "t_.outHeight, t_.height, wide * FRACTAL);", "t_.outHeight, h_ * FRACTAL, wide * FRACTAL);", "error"),
    ("misaligned operand", FORWARD, "left[c * leftFractals * FRACTAL_ELEMENTS]", "left[c * (leftFractals * FRACTAL_ELEMENTS - 16)]", "multiple of 512"),
    ("sum starts afresh with every tile", GRAD, "AddToDa(t2, x, n == first);", "AddToDa(t2, x, true);", "error"),
    ("sum never starts afresh", GRAD, "AddToDb(t1_.Next(), dy, n == first);", "AddToDb(t1_.Next(), dy, false);", "nobody wrote|error"),
    # ---- padding
    ("rows that pad T1 not zeroed", GRAD, "        t1_.Clear();\n", "", "error"),
    ("rows that pad dY not zeroed", GRAD, "        ZeroQueue(dyL1_, TILES_IN_FLIGHT, t_.tileChannels * t_.tileImages * ho_ * wo_);\n", "", "error"),
    ("rows that pad B not zeroed", GRAD, "        ZeroQueue(bL1_, 1, t_.tileChannels * w_ * wo_);\n", "", "error"),
    # ---- buffers
    ("product buffer of one image", FORWARD, "product_.Init(pipe, planes * ho_ * w_ * FRACTAL_ELEMENTS);",
     "product_.Init(pipe, t_.tileChannels * ho_ * w_ * FRACTAL_ELEMENTS);", "race|error|below the tensor"),
    ("L0A buffers too large", CUBE, "constexpr uint32_t L0_BYTES = L0_FRACTALS * FRACTAL_ELEMENTS * 2;", "constexpr uint32_t L0_BYTES = L0_FRACTALS * FRACTAL_ELEMENTS * 3;", "InitBuffer: L0A holds"),
    ("temporaries of the gradient too small", GRAD, "pipe->InitBuffer(l0c_, t_.resultBuffers, planes * w_ * Max(ho_, h_) * FRACTAL_ELEMENTS * sizeof(float));",
     "pipe->InitBuffer(l0c_, t_.resultBuffers, planes * w_ * ho_ * FRACTAL_ELEMENTS * sizeof(float) / 2);", "race|error|below the tensor"),
    ("no double buffer for X", FORWARD, [("pipe->InitBuffer(xL1_, TILES_IN_FLIGHT,", "pipe->InitBuffer(xL1_, 1,"),
     ("tile < TILES_IN_FLIGHT; ++tile", "tile < 1; ++tile"), ("LoadX(n + TILES_IN_FLIGHT * t_.tileImages, last);", "LoadX(n + t_.tileImages, last);")],
     "", "predicted"),
    # ---- tiling
    ("a part ends one short", TILING, "* index + parts - 1) / parts);", "* index + parts - 1) / parts - (index == parts));", "error"),
    ("parts overlap", TILING, "* index + parts - 1) / parts);", "* index + parts - 1) / parts + (index == 1));", "lies in no tensor|written twice"),
    ("tile one channel too large", TILING, "uint32_t channels = EvenTile(share, Min(share, most));", "uint32_t channels = EvenTile(share, Min(share, most + 1));", "race|pass the end|below the tensor"),
    ("L0C too small for the gradient's tile", TILING, "GradResultFractals(s, channels, images, buffers) <= L0C_FRACTALS;", "GradResultFractals(s, channels, images, buffers) <= 2 * L0C_FRACTALS;", "InitBuffer: L0C"),
    ("rounding up forgotten", TILING, "return (size + FRACTAL - 1) / FRACTAL; }", "return size / FRACTAL; }", "nobody wrote"),
    ("several images in a tile of large planes", TILING, "images <= (OneFractal(s) ? Min(imageShare, L0_FRACTALS) : 1)", "images <= Min(imageShare, L0_FRACTALS)", "error"),
    ("one image a tile", TILING, "images <= Min(imageShare, L0_FRACTALS); ++images) {\n        uint32_t most = L0", "images <= Min(imageShare, 1); ++images) {\n        uint32_t most = L0", "predicted"),
    ("stage 1 not ahead of stage 2", FORWARD, [("        MultiplyByA(a, first, last);\n", ""),
     ("            LoadX(n + TILES_IN_FLIGHT * t_.tileImages, last);\n            MultiplyByA(a, n + t_.tileImages, last);",
      "            MultiplyByA(a, n, last);\n            LoadX(n + TILES_IN_FLIGHT * t_.tileImages, last);")], "", "predicted"),
]
