#include "team.h"

#include <sched.h>

#include <algorithm>

#include "export.h"

namespace {

constexpr int SPINS_BEFORE_YIELD = 4000;

// The entry points of the OpenMP runtime that torch has loaded; null where it has none.
using Parallel = void (*)(void (*)(void*), void*, unsigned, unsigned);
using ThreadCount = int (*)();
Parallel omp_parallel = nullptr;
ThreadCount omp_num_threads = nullptr;

struct Entry {
  Region& region;
  void (*body)(void*, Team&);
  void* context;
};

void pause_cpu() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

void run_thread(void* data) {
  auto& entry = *static_cast<Entry*>(data);
  Team team(entry.region, omp_num_threads());
  entry.body(entry.context, team);
}

}  // namespace

long Team::take(long count, long grain) {
  uint64_t claims = region_.claims.load(std::memory_order_acquire);
  while (claims >> 32 == phase_ && long(uint32_t(claims)) < count) {
    // Never past the end, which could run over into the phase.
    long end = std::min(long(uint32_t(claims)) + grain, count);
    uint64_t taken = uint64_t(phase_) << 32 | uint32_t(end);
    if (region_.claims.compare_exchange_weak(claims, taken, std::memory_order_acq_rel))
      return uint32_t(claims);
  }
  return -1;
}

void Team::finish(long items, long count) {
  if (region_.done.fetch_add(items, std::memory_order_acq_rel) + items < count) return;
  region_.done.store(0, std::memory_order_relaxed);
  region_.claims.store(uint64_t(phase_ + 1) << 32, std::memory_order_release);
}

void Team::wait_for_phase() {
  auto busy = [&] { return region_.claims.load(std::memory_order_acquire) >> 32 == phase_; };
  for (int spins = 0; busy(); spins++) {
    if (spins < SPINS_BEFORE_YIELD)
      pause_cpu();
    else
      sched_yield();
  }
}

void run_region(int threads, void (*body)(void*, Team&), void* context) {
  Region region;
  if (threads == 1 || omp_parallel == nullptr) {
    Team team(region, 1);
    body(context, team);
    return;
  }
  Entry entry{region, body, context};
  omp_parallel(run_thread, &entry, unsigned(threads), 0);
}

EXPORT void use_openmp(Parallel parallel, ThreadCount num_threads) {
  omp_parallel = parallel;
  omp_num_threads = num_threads;
}
