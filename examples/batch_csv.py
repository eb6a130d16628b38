"""A batch over a CSV: a program a row, and a CSV with the results on stdout.

python examples/batch_csv.py [FILE with a column "review"]
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import sglang_lang as sgl

REVIEWS = Path(__file__).with_name("reviews.csv")


@sgl.function
def rate(s: sgl.ProgramState, review: str) -> None:
    s += "What guests write about hotels, their mood, and what the text is about.\n\n"
    s += "Review: The room was dirty and loud.\nMood: negative\nAbout: room\n\n"
    s += "Review: Such a friendly reception!\nMood: positive\nAbout: staff\n\n"
    s += "Review: You pay a lot, and get little.\nMood: negative\nAbout: price\n\n"
    s += "Review: We loved the soup.\nMood: positive\nAbout: food\n\n"
    s += f"Review: {review}\nMood: " + sgl.select("mood", ["positive", "negative"])
    s += "\nAbout: " + sgl.select("about", ["room", "staff", "food", "price"])


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else REVIEWS
    with path.open(newline="", encoding="utf-8") as file:
        reviews = [row["review"] for row in csv.DictReader(file)]
    with sgl.Engine(log_level="warning") as engine:
        states = rate.run_batch(
            [{"review": review} for review in reviews], backend=engine, progress_bar=True
        )
    writer = csv.writer(sys.stdout)
    writer.writerow(["review", "mood", "about"])
    writer.writerows(
        [review, state["mood"], state["about"]]
        for review, state in zip(reviews, states, strict=True)
    )


if __name__ == "__main__":
    main()
