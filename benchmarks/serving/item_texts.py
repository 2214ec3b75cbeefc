"""Texts of made-up items as a shop has them: title, brand, category and a description, 32 to 64 tokens of MiniLM."""

from __future__ import annotations

TEXTS = (
    "Stainless steel saucepan with glass lid. Kitchen, cookware. A two litre pan with an even base for gas, electric"
    " and induction hobs; the handle stays cool, and lid and pan may go into the dishwasher.",
    "Trail running shoes for women. Sports, footwear. Light shoes with a deep tread for mud and wet rock, a wide toe"
    " box and a drop of four millimetres.",
    "The Lighthouse Keeper's Winter, paperback. Books, crime. When a boat is found adrift without its crew, the only"
    " witness is a man who has not spoken to anybody for eleven years.",
    "Wireless over-ear headphones with noise cancelling. Electronics, audio. Thirty hours of playing time, two"
    " microphones for calls, and a case that is small enough for a coat pocket.",
    "Organic green tea, loose leaf, 250 g. Grocery, tea. First spring harvest from a small garden in the hills,"
    " steamed by hand, with a mild and slightly sweet taste.",
    "Cordless drill with two batteries. Tools, power tools. Eighteen volts, two gears and a hammer function for brick;"
    " charger, belt clip and thirty bits come in the case.",
    "Wooden train set, 54 pieces. Toys, from three years. Beech rails, two bridges, a crane with a magnet and a"
    " station; fits the rails of the usual brands.",
    "Moisturizing face cream with oat extract, 50 ml. Beauty, skin care. Without perfume, for dry and sensitive skin,"
    " by day under make-up or at night.",
    "Adjustable standing desk, 140 cm. Office, furniture. Two quiet motors lift eighty kilograms, four heights can be"
    " stored, and a tray keeps cables off the floor.",
    "Waterproof hiking jacket for men. Outdoor, clothing. Three layers, sealed seams, a hood that fits over a helmet,"
    " and vents under the arms for steep ascents.",
    "Acoustic guitar for beginners with bag. Music, instruments. Spruce top, nylon strings and a narrow neck for small"
    " hands; a tuner and a book of twenty songs come with it.",
    "Dog bed with a removable cover, large. Pets, dogs. Memory foam for old joints, a raised edge to rest the head on,"
    " and a cover that is washed at sixty degrees.",
    "Mechanical keyboard, compact. Electronics, computers. Hot-swappable switches, white light behind the keys, a"
    " detachable cable and keycaps that do not wear off.",
    "Children's rain boots with lining. Shoes, children. Natural rubber with a warm lining, reflecting stripes and a"
    " handle on each side so that small hands can pull them on.",
    "Espresso machine with grinder. Kitchen, coffee. Fifteen bar, a conical grinder with sixteen steps, a steam wand"
    " for milk, and a water tank that is filled from the front.",
    "Indoor plant pot set of three, terracotta. Garden, pots. Unglazed pots of twelve, fifteen and eighteen centimetres"
    " with saucers, each with a hole so that roots do not stand in water.",
)
"""Sixteen of them: a pass has two for each of eight tenants."""
