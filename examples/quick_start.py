"""A structured program on the embedded model: turns, a regex, a choice, and a fork of three.

python examples/quick_start.py
"""

from __future__ import annotations

import time

import sglang_lang as sgl


@sgl.function
def plan_a_trip(s: sgl.ProgramState, city: str) -> None:
    s += sgl.system("You are a friendly travel guide. Answer in one short sentence.")
    s += sgl.user(f"I want to visit {city}. How many days should I stay?")
    s += sgl.assistant(
        "You should stay "
        + sgl.gen("stay", regex=r"[2-9] days and [1-8] nights", temperature=0)
        + "."
    )
    s += sgl.user("Which season is best?")
    s += sgl.assistant(
        "The best season is "
        + sgl.select("season", choices=["spring", "summer", "autumn", "winter"])
        + "."
    )

    topics = ["food", "museums", "parks"]
    forks = s.fork(len(topics))
    for fork, topic in zip(forks, topics, strict=True):
        fork += sgl.user(f"Give me one tip about {topic} in {city}.")
        fork += sgl.assistant(sgl.gen("tip", max_tokens=40, temperature=0))
    forks.join()

    s += sgl.user("Sum up your tips.")
    tips = "\n".join(
        f"- {topic}: {tip.strip()}" for topic, tip in zip(topics, s["tip"], strict=True)
    )
    s += sgl.assistant(tips)


def main() -> None:
    with sgl.Engine(log_level="warning") as engine:
        start = time.perf_counter()
        state = plan_a_trip.run(city="Lisbon", backend=engine)
        seconds = time.perf_counter() - start

        print(state.text())
        print("-" * 60)
        for name, value in state.variables.items():
            print(f"{name} = {value!r}")
        usage = state.usage
        print("-" * 60)
        print(
            f"{usage.completion_tokens / seconds:.1f} tokens/s, "
            f"{usage.cached_tokens} of {usage.prompt_tokens} prompt tokens cached, "
            f"{usage.forced_tokens} of {usage.completion_tokens} output tokens forced"
        )


if __name__ == "__main__":
    main()
