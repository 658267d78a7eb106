// Included before every file of llama.cpp. GCC 12's _tile_loadconfig tells the optimiser that it reads 8 of the
// 64 bytes of a tile configuration, which then loses the stores to the others and faults when it is loaded.
#pragma once
#if defined(__AMX_TILE__) && defined(__GNUC__) && !defined(__clang__)
#include <immintrin.h>
#define _tile_loadconfig(config) __asm__ volatile("ldtilecfg %0" ::"m"(*(const char(*)[64])(config)))
#endif
