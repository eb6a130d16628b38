// Marks the functions that Python calls.
#pragma once

#define EXPORT extern "C" __attribute__((visibility("default")))

// The element types that cross the border, numbered as library.py numbers them.
// INT8 and FLOAT8 (e4m3) are types of caches alone.
enum DType : int { FLOAT32 = 0, BFLOAT16 = 1, INT8 = 2, FLOAT8 = 3 };
