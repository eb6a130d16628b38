"""Twenty prompts of ordinary text; several share long prefixes."""

from __future__ import annotations

STORY = (
    "The lighthouse on the northern cape had been dark for eleven years when Mara rowed out to "
    "it with a toolbox, a coil of wire and a loaf of bread. The keeper's log lay open on the "
    "desk, its last entry written in a steady hand: wind from the west, glass falling, all well. "
)

FACTS = (
    "Water boils at a lower temperature on a mountain because the air presses on it less. Bread "
    "dough rises because yeast turns sugar into carbon dioxide. Iron rusts when it meets water "
    "and oxygen at the same time. "
)

PROMPTS = [
    STORY + "She turned the page and",
    STORY + "Down in the engine room",
    STORY + "Nobody in the village believed",
    STORY + "The first thing she repaired was",
    STORY,
    FACTS + "Question: why does bread rise? Answer:",
    FACTS + "Question: when does iron rust? Answer:",
    FACTS + "Question: where does water boil at a lower temperature? Answer:",
    FACTS + "In the same way, salt",
    "def fibonacci(n):\n    if n < 2:\n        return n\n    return",
    "import json\n\nwith open('settings.json') as file:\n    settings =",
    "SELECT name, age FROM people WHERE",
    "Dear Sir or Madam,\n\nI am writing to",
    "1, 1, 2, 3, 5, 8, 13, 21,",
    "The capital of France is Paris. The capital of Italy is",
    "Zürich liegt in der Schweiz, und Wien liegt in",
    "La recette est simple : il faut de la farine, des œufs et",
    "| city | country |\n| --- | --- |\n| Oslo | Norway |\n| Rome |",
    "Once upon a time, in a small house at the edge of a wood, there lived",
    "A",
]
