// Parallel regions on the OpenMP threads that torch already has, so that there is one pool and one
// wait policy in the process. Inside a region, phases are shared out by a counter.
#pragma once

#include <atomic>
#include <type_traits>

// What the threads of one region share.
struct Region {
  alignas(64) std::atomic<long> next{0};  // first item of the phase that no thread has taken
  alignas(64) std::atomic<int> arrived{0};
  alignas(64) std::atomic<unsigned> generation{0};
};

// One thread's view of the region.
class Team {
 public:
  Team(Region& region, int rank, int size) : region_(region), rank_(rank), size_(size) {}

  int rank() const { return rank_; }
  int size() const { return size_; }

  // Returns when every thread of the team is here.
  void barrier();

  // Runs body(begin, end) over [0, count) in pieces of grain, each by whichever thread is free, and
  // returns when all of it is done.
  template <class Body>
  void share(long count, long grain, Body body) {
    for (long begin; (begin = region_.next.fetch_add(grain, std::memory_order_relaxed)) < count;)
      body(begin, begin + grain < count ? begin + grain : count);
    barrier();
  }

 private:
  Region& region_;
  int rank_;
  int size_;
};

void run_region(int threads, void (*body)(void*, Team&), void* context);

// Runs body(team) on `threads` threads, the caller's among them.
template <class Body>
void parallel(int threads, Body&& body) {
  using Plain = std::remove_reference_t<Body>;
  run_region(
      threads, [](void* context, Team& team) { (*static_cast<Plain*>(context))(team); }, &body);
}

// Runs body(begin, end) over [0, count) in parallel; up to one grain stays on the caller's thread.
template <class Body>
void parallel_for(int threads, long count, long grain, Body body) {
  if (threads == 1 || count <= grain) {
    if (count > 0) body(0L, count);
    return;
  }
  parallel(threads, [&](Team& team) { team.share(count, grain, body); });
}
