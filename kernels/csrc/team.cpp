#include "team.h"

#include <sched.h>

#include "export.h"

namespace {

constexpr int SPINS_BEFORE_YIELD = 4000;

// The entry points of the OpenMP runtime that torch has loaded; null where it has none.
using Parallel = void (*)(void (*)(void*), void*, unsigned, unsigned);
using ThreadNumber = int (*)();
Parallel omp_parallel = nullptr;
ThreadNumber omp_num_threads = nullptr;
ThreadNumber omp_thread_num = nullptr;

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
  Team team(entry.region, omp_thread_num(), omp_num_threads());
  entry.body(entry.context, team);
}

}  // namespace

void Team::barrier() {
  unsigned generation = region_.generation.load(std::memory_order_acquire);
  if (region_.arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == size_) {
    region_.arrived.store(0, std::memory_order_relaxed);
    region_.next.store(0, std::memory_order_relaxed);
    region_.generation.store(generation + 1, std::memory_order_release);
    return;
  }
  for (int spins = 0; region_.generation.load(std::memory_order_acquire) == generation; spins++) {
    if (spins < SPINS_BEFORE_YIELD)
      pause_cpu();
    else
      sched_yield();
  }
}

void run_region(int threads, void (*body)(void*, Team&), void* context) {
  Region region;
  if (threads == 1 || omp_parallel == nullptr) {
    Team team(region, 0, 1);
    body(context, team);
    return;
  }
  Entry entry{region, body, context};
  omp_parallel(run_thread, &entry, unsigned(threads), 0);
}

EXPORT void use_openmp(Parallel parallel, ThreadNumber num_threads, ThreadNumber thread_num) {
  omp_parallel = parallel;
  omp_num_threads = num_threads;
  omp_thread_num = thread_num;
}
