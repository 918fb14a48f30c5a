"""Makes the tickets in data/: python prepare.py. The same seed gives the same files.

They are written by this program from sentences below: no customer ever wrote one. Some name their topic in the usual
words, some in rarer ones, some mention a second topic. data/tickets.jsonl judges prompts; data/live.jsonl and
data/drifted.jsonl are traffic, the second with a topic that the prompts do not know: gift cards.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

SEED = 20261128
EXAMPLES, LIVE, DRIFTED = 300, 3000, 1500
PLAIN = 0.8
"""Share of tickets that name their topic in the usual words."""
ASIDE = 0.15
"""Share of tickets that mention another topic, too."""
NEW_TOPIC = 0.35
"""Share of the new topic in data/drifted.jsonl."""
CHANNELS = ("mail", "chat", "form")

USUAL = {
    "billing": [
        "I was charged twice for {thing}.",
        "The invoice for {thing} shows the wrong amount.",
        "My payment for {thing} went through, but the invoice says open.",
        "Why was I charged {money} for {thing}?",
        "Please send me the invoice of {month} again.",
    ],
    "delivery": [
        "My parcel with {thing} is late.",
        "The delivery of {thing} was promised for {day}, and nothing came.",
        "The parcel with {thing} arrived with a torn side.",
        "When is the delivery of {thing}?",
        "Delivery of {thing} went to a wrong street.",
    ],
    "returns": [
        "I want to return {thing}.",
        "How do I get a refund for {thing}?",
        "The return of {thing} arrived weeks ago, where is my refund?",
        "Can I exchange {thing} for a larger one?",
        "Is a return of {thing} free of charge?",
    ],
    "account": [
        "I forgot my password.",
        "The login fails although the password is right.",
        "Please delete my account.",
        "My account shows orders of somebody else.",
        "I cannot login since {day}.",
    ],
    "technical": [
        "The app shows an error when I open {thing}.",
        "The app closes with a crash on my phone.",
        "I get error {number} at every start.",
        "Since {day} the app has a crash at the second page.",
        "An error comes up when I pair {thing}.",
    ],
}
RARER = {
    "billing": [
        "There are two debits of {money} on my bank statement.",
        "The VAT on the receipt is not right.",
        "You took {money} too much from my card.",
        "My voucher of {money} was not deducted from the total.",
        "I need a receipt with our company's VAT number.",
    ],
    "delivery": [
        "The courier left {thing} in the rain.",
        "Tracking has not moved since {day}.",
        "{Thing} is stuck at the depot.",
        "The shipment never reached my doorstep.",
        "The driver rang at a wrong door, and tracking says handed over.",
    ],
    "returns": [
        "{Thing} does not fit, I would like to send it back.",
        "I need a label to send {thing} back.",
        "I ordered the wrong size of {thing}.",
        "{Thing} was a gift that is unwanted; will you take it back?",
        "How many days do I have to send {thing} back?",
    ],
    "account": [
        "I am locked out since I changed my mail address.",
        "The verification code never comes.",
        "Please change the mail address in my profile.",
        "Somebody else seems to use my profile.",
        "Two-factor verification asks for a phone that I lost.",
    ],
    "technical": [
        "{Thing} freezes after the last update.",
        "The screen stays blank after the firmware update.",
        "Bluetooth drops every few minutes.",
        "{Thing} restarts by itself and the screen flickers.",
        "After the update {thing} does not pair over bluetooth.",
    ],
}
GIFT_CARDS = [
    "The code on my gift card is scratched.",
    "How long is a gift card valid?",
    "My gift card shows a balance of zero, but I never used it.",
    "Can I top up a gift card with {money}?",
    "I got a gift card for {thing} and the code is refused.",
]
ASIDES = {
    "billing": "The invoice itself was fine.",
    "delivery": "The parcel had come on time.",
    "returns": "I do not want a refund.",
    "account": "My login works.",
    "technical": "There was no error in the app.",
}
OPENINGS = ["", "", "Hello,", "Hi there,", "Good morning.", "To whom it may concern,", "Second message about this:"]
CLOSINGS = [
    "",
    "",
    "Thanks.",
    "Please help.",
    "Kind regards, {name}",
    "I am waiting for your answer.",
    "Order {number}.",
]
THINGS = [
    "the headphones",
    "the lamp",
    "the coffee grinder",
    "the speaker",
    "the backpack",
    "the thermostat",
    "the watch",
]
NAMES = ["Ana", "Bo", "Chi", "Dana", "Emre", "Fay", "Goran", "Hana"]
DAYS = ["Monday", "Tuesday", "Thursday", "Friday", "last week"]
MONTHS = ["January", "March", "June", "October"]


def sentence(chance: random.Random, text: str) -> str:
    """Fill in a sentence."""
    thing = chance.choice(THINGS)
    return text.format(
        thing=thing,
        Thing=thing.capitalize(),
        money=f"{chance.randint(4, 90)} euros",
        day=chance.choice(DAYS),
        month=chance.choice(MONTHS),
        number=chance.randint(1000, 9999),
        name=chance.choice(NAMES),
    )


def ticket(chance: random.Random, topic: str) -> str:
    """Write one ticket on a topic."""
    if topic == "gift cards":
        body = [chance.choice(GIFT_CARDS)]
    else:
        body = [chance.choice((USUAL if chance.random() < PLAIN else RARER)[topic])]
    if topic in ASIDES and chance.random() < ASIDE:
        body.append(ASIDES[chance.choice([other for other in ASIDES if other != topic])])
    texts = [chance.choice(OPENINGS), *body, chance.choice(CLOSINGS)]
    return " ".join(sentence(chance, text) for text in texts if text)


def examples(chance: random.Random) -> list[dict[str, str]]:
    """Return tickets with the queue that they belong to; a customer writes one to three of them."""
    rows: list[dict[str, str]] = []
    seen: set[str] = set()
    customer, left = 0, 0
    while len(rows) < EXAMPLES:
        if left == 0:
            customer, left, channel = customer + 1, chance.randint(1, 3), chance.choice(CHANNELS)
        topic = chance.choice(list(USUAL))
        text = ticket(chance, topic)
        if text in seen:
            continue
        seen.add(text)
        left -= 1
        rows.append({"ticket": text, "queue": topic, "channel": channel, "customer": f"c{customer:03d}"})
    return rows


def traffic(chance: random.Random, count: int, new: float, users: int) -> list[dict[str, str]]:
    """Return conversations of one ticket each. new: share of the topic that is new; gift cards belong to billing."""
    rows = []
    for number in range(count):
        topic = "gift cards" if chance.random() < new else chance.choice(list(USUAL))
        rows.append(
            {
                "conversation": f"{'d' if new else 'l'}{number:05d}",
                "user": f"u{chance.randrange(users):04d}",
                "ticket": ticket(chance, topic),
                "queue": "billing" if topic == "gift cards" else topic,
            }
        )
    return rows


def write(name: str, rows: list[dict[str, str]]) -> None:
    """Write rows as JSON lines."""
    Path("data").mkdir(exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    Path("data", name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write("tickets.jsonl", examples(random.Random(SEED)))
    write("live.jsonl", traffic(random.Random(SEED + 1), LIVE, 0.0, 800))
    write("drifted.jsonl", traffic(random.Random(SEED + 2), DRIFTED, NEW_TOPIC, 400))
