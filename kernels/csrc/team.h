// Parallel regions on the OpenMP threads that torch already has, so that there is one pool and one
// wait policy in the process. Inside a region, phases are shared out by a counter.
#pragma once

#include <atomic>
#include <cstdint>
#include <type_traits>

// What the threads of one region share.
struct Region {
  // The phase at hand (high half) and its first item that no thread has taken (low half).
  alignas(64) std::atomic<uint64_t> claims{0};
  alignas(64) std::atomic<long> done{0};  // items of the phase that are finished
};

// One thread's view of the region. All threads run the same phases in the same order; one that
// comes late (the system may run something else meanwhile) finds its phases done and catches up,
// and the others never wait for it, only for items it has taken.
class Team {
 public:
  Team(Region& region, int size) : region_(region), size_(size) {}

  int size() const { return size_; }

  // Runs body(begin, end) over [0, count) in pieces of grain, each by whichever thread is free, and
  // returns when all of it is done. count must be below 2^32 and the same on all threads.
  template <class Body>
  void share(long count, long grain, Body body) {
    if (count <= 0) return;
    for (long begin; (begin = take(count, grain)) >= 0;) {
      long end = begin + grain < count ? begin + grain : count;
      body(begin, end);
      finish(end - begin, count);
    }
    wait_for_phase();
    phase_++;
  }

 private:
  long take(long count, long grain);    // the first item taken, or -1 if there is none
  void finish(long items, long count);  // begins the next phase with the last item
  void wait_for_phase();

  Region& region_;
  int size_;
  uint32_t phase_ = 0;
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
