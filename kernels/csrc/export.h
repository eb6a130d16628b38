// Marks the functions that Python calls.
#pragma once

#define EXPORT extern "C" __attribute__((visibility("default")))

// The element types that cross the border, numbered as library.py numbers them.
enum DType : int { FLOAT32 = 0, BFLOAT16 = 1 };
