// Checks against double precision and between numbers of threads.
#include <algorithm>
#include <cstdio>

#include "driver.h"

namespace neonext {
namespace {

std::string NameOf(const Cell& cell) {
  std::string text;
  for (const Group& g : cell.golden.groups) {
    char part[160];
    std::snprintf(part, sizeof(part), "[%d ch, left %dx%d, right %dx%d, shift %d,%d] ", g.channels, g.h_out, g.h_in,
                  g.w_in, g.w_out, g.shift_left, g.shift_right);
    text += part;
  }
  return text + "N " + std::to_string(cell.golden.n) + ", " + std::to_string(cell.golden.h) + " x " +
         std::to_string(cell.golden.w) + ", " + cell.own[0].dtype + " with " + cell.blocks[0].dtype + " blocks";
}

void CheckCell(Cell cell) {
  GoldenCell& golden = cell.golden;
  golden.Run();
  std::vector<char> first;
  for (int threads = 1; threads <= 3; ++threads) {
    neonext_set_threads(threads);
    const int codes[] = {cell.Forward(), cell.Backward()};
    if (codes[0] || codes[1]) {
      std::printf("FAILED %s: returned %d and %d\n", NameOf(cell).c_str(), codes[0], codes[1]);
      ++g_failures;
      return;
    }
    if (threads == 1) {
      first = cell.Outputs();
    } else if (cell.Outputs() != first) {
      std::printf("FAILED %s: other bits with %d threads\n", NameOf(cell).c_str(), threads);
      ++g_failures;
    }
  }
  // Sums of k products, and of the whole tensor for the gradients of the blocks; float16 adds one rounding.
  const std::string name = NameOf(cell);
  Compare(name + ": y", cell.own[4], golden.y, 12);
  Compare(name + ": dx", cell.own[5], golden.dx, 12);
  Compare(name + ": dbias", cell.own[6], golden.dbias, 50);
  for (size_t g = 0; g < golden.groups.size(); ++g) {
    Compare(name + ": dleft", cell.dblocks[2 * g], golden.dleft[g], 50);
    Compare(name + ": dright", cell.dblocks[2 * g + 1], golden.dright[g], 50);
  }
}

void CheckNeocell() {
  int cases = 0;
  const auto check = [&](Cell cell) {
    CheckCell(std::move(cell));
    ++cases;
  };
  const int sizes[][2] = {{7, 7}, {12, 12}, {14, 14}, {17, 17}, {24, 24}, {56, 56}, {5, 23}, {20, 17}, {3, 4}, {1, 1}};
  for (int k = 1; k <= 9; ++k) {
    for (const auto& size : sizes) {
      const int n = size[0] == 56 ? 2 : 3;
      for (int shift : {0, 1, 2}) {
        if (shift < k) check(Cell({Square(k, 2 * k + 1, shift)}, n, size[0], size[1], shift == 1));
      }
    }
  }
  for (bool half_x : {false, true}) {
    for (bool half_weights : {false, true}) {
      for (const auto& size : sizes) {
        check(Cell({Square(4, 11, 1), Square(7, 12, 1)}, 3, size[0], size[1], true, half_x, half_weights));
      }
    }
  }
  check(Cell({Square(7, 5, 3), Square(4, 3, 1), Square(2, 4, 0)}, 2, 13, 11, false));
  check(Cell({Square(7, 3, 1)}, 2, 14, 14, false));  // fewer channels than shifts
  check(Cell({{9, 4, 4, 7, 7, 1, 2}}, 2, 13, 16, true));
  check(Cell({{6, 7, 7, 4, 4, 0, 1}}, 3, 7, 7, false));
  const int resample[][2] = {{2, 1}, {1, 2}, {3, 2}, {2, 3}, {4, 1}, {8, 5}, {5, 8}, {20, 10}, {1, 18}};
  for (const auto& r : resample) {
    for (const auto& size : sizes) {
      const int largest = std::max(size[0], size[1]) * r[1] / r[0];
      if (std::min(size[0], size[1]) * r[1] / r[0] == 0 || largest > 500) continue;
      check(Cell({{5, r[1], r[0], r[0], r[1], 0, 0}}, 3, size[0], size[1], true, size[0] == 17));
    }
  }
  check(Cell({{3, 3, 2, 1, 1, 0, 0}}, 2, 8, 7, false));
  check(Cell({Square(17, 20, 1), Square(33, 3, 4)}, 2, 40, 35, true));  // wider than any vector
  check(Cell({Square(7, 2, 1)}, 43, 56, 56, false));                    // images in several segments
  check(Cell({Square(4, 96, 1)}, 16, 28, 28, false));
  check(Cell({Square(4, 5, 1), Square(7, 9, 0)}, 669, 7, 7, true));  // the same, of an odd number each
  for (bool half : {false, true}) {                                  // more columns than are taken together
    check(Cell({Square(4, 9, 1), Square(7, 9, 1)}, 2, 9, 300, true, half));
    check(Cell({{5, 1, 2, 2, 1, 0, 0}}, 2, 9, 301, true, half));
    for (int copies : {2, 5}) {  // planes of a channel, in one segment and in several; and long ones for blocks of one
      check(Cell({Square(4, 9, 1), Square(7, 13, 2)}, 3, 14, 17, true, half, half, copies));
      check(Cell({Square(7, 2, 1)}, 43, 28, 56, true, half, false, copies));
      check(Cell({{5, 2, 3, 1, 1, 0, 0}, {3, 2, 3, 1, 1, 0, 0}}, 2, 9, 300, true, half, false, copies));
    }
  }
  std::printf("%d cells, largest error %.3g units in the last place\n", cases, g_worst);
}

void CheckRefusals() {
  const Cell good({Square(4, 8, 1)}, 2, 14, 14, false);
  const auto refuse = [&](const char* what, int code, void (*spoil)(Cell&)) {
    Cell cell = good;
    spoil(cell);
    ExpectCode(what, cell.Forward(), code);
    ExpectCode(what, cell.Backward(), code);
  };
  refuse("type of x", NEONEXT_BAD_TYPE, [](Cell& c) { c.own[0].dtype = c.own[1].dtype = c.own[4].dtype = "bfloat16"; });
  refuse("type of a block", NEONEXT_BAD_TYPE, [](Cell& c) { c.blocks[1].dtype = "int32"; });
  refuse("channels of x", NEONEXT_BAD_SHAPE, [](Cell& c) {
    for (int i : {0, 1, 4, 5}) c.own[i].shape[1] = 7;
  });
  refuse("no images", NEONEXT_BAD_SHAPE, [](Cell& c) {
    for (int i : {0, 1, 4, 5}) c.own[i].shape[0] = 0;
  });
  refuse("rank of x", NEONEXT_BAD_SHAPE, [](Cell& c) { c.own[0].shape = {2, 8, 196}; });
  refuse("size of y", NEONEXT_BAD_SHAPE, [](Cell& c) { c.own[1].shape[3] = c.own[4].shape[3] = 13; });
  refuse("size of a block", NEONEXT_BAD_SHAPE, [](Cell& c) { c.blocks[0].shape[2] = 3; });
  refuse("fields of the layout", NEONEXT_BAD_LAYOUT, [](Cell& c) { c.own[2].shape[0] = 7; });
  refuse("type of the layout", NEONEXT_BAD_LAYOUT, [](Cell& c) { c.own[2].dtype = "float32"; });
  refuse("shift of the layout", NEONEXT_BAD_LAYOUT, [](Cell& c) { c.own[2].bytes[24] = 4; });
  refuse("number of tensors", NEONEXT_BAD_COUNT, [](Cell& c) {
    c.blocks.pop_back(), c.blocks.pop_back();
    c.dblocks.pop_back(), c.dblocks.pop_back();
    Cell more({Square(4, 4, 1), Square(4, 4, 1)}, 2, 14, 14, false);
    c.own[2] = more.own[2];
    for (int i : {0, 1}) c.blocks.push_back(more.blocks[i]), c.dblocks.push_back(more.dblocks[i]);
  });
}

}  // namespace

int Check() {
  std::printf("%s, bfloat16: %s\n", neonext_simd(), neonext_bfloat16());
  CheckNeocell();
  CheckRefusals();
  CheckMlp();
  CheckGated();
  CheckGelu();
  CheckUpdate();
  CheckBatchNorm();
  return g_failures;
}

// What has products of bfloat16 in it.
int CheckProducts() {
  std::printf("%s, bfloat16: %s\n", neonext_simd(), neonext_bfloat16());
  CheckMlp();
  CheckGated();
  return g_failures;
}

}  // namespace neonext
