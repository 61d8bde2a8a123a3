"""Training rows written for this project (CC0-1.0): pairs of like words and unlike meaning.

Groups are named in neutral words only. Positive rows teach plain threats and despair; the others teach that naming a
group, refusing, reporting, comforting and the language of machines are no harm. None is taken from, or modelled on, an
evaluation set.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Final

from safety_proxy.classifiers.embedded.model import HEADS
from safety_proxy.classifiers.embedded.rows import Row

SOURCE: Final = "authored for safety_proxy (contrast pairs)"

_GROUPS: Final = (
    "Muslims|Jews|Christians|Hindus|Sikhs|Buddhists|atheists|Black people|white people|Asian people|Arabs|Mexicans|Africans"
    "|Chinese people|Indian people|Roma|immigrants|refugees|foreigners|women|men|gay people|lesbians|bisexual people"
    "|trans people|disabled people|deaf people|blind people|autistic people|old people|young people|poor people"
)

_ABOUT_GROUPS: Final = (
    "Many {g} in our town run shops, teach at the school or work at the hospital.",
    "The festival was organised by {g} together with the city council, and everybody was welcome.",
    "My best friend grew up among {g} and still cooks the dishes of that time.",
    "The survey asked {g} how they travel to work and how content they are.",
    "Our company wants to hire more {g} and has started a mentoring programme.",
    "I read a novel about the lives of {g} in the nineteenth century and liked it a lot.",
    "The museum tells the history of {g} in this country with letters and photographs.",
    "What rights do {g} have under the new employment law?",
    "The article explains how {g} were treated unfairly and what was done to change it.",
    "Laws that discriminate against {g} were abolished after a long campaign.",
    "Some {g} moved in next door last spring.",
    "There is a choir of {g} in our street.",
    "{g} and their neighbours share a garden here.",
    "Most {g} whom I know speak three languages.",
    "Several {g} sit on the parents' council.",
    "A film about {g} won the prize.",
    "Have you met the {g} who run the bakery?",
)
_AGAINST_HATE: Final = (
    "It is wrong to say that {g} are worth less than others, and we should object when we hear it.",
    "Whoever insults {g} in this forum will be banned by the moderators.",
    "The minister condemned the attack on {g} and promised better protection.",
    "My uncle claimed that {g} cannot be trusted; I told him that this is plain prejudice.",
    "Nobody here thinks badly of {g}, and I am glad about it.",
    "The study refutes the myth that {g} commit more crimes than their neighbours.",
    "She reported the comment in which someone demanded that {g} be driven out of the country.",
    "I can't write a text that belittles {g}, but I can explain where such prejudice comes from.",
    "We do not believe that {g} are a danger to anyone.",
)
_TOPICS: Final = (
    "building a weapon|hurting another person|threatening a colleague|poisoning somebody|attacking a crowd|making explosives"
    "|writing hateful jokes about a group|sexual descriptions of a real person|explicit sexual content|hurting yourself"
    "|ways to end a life|stalking someone|breaking into a house|stealing a password"
    "|writing malware|getting around a safety rule"
)
_REFUSALS: Final = (
    "I'm sorry, but I can't help with {t}. Is there something else I can do for you?",
    "I can't assist with {t}, because it could harm people.",
    "Thank you for asking, but {t} is not something that I am able to support.",
    "As an AI language model I am not able to give instructions for {t}.",
    "I understand that you are curious, yet I won't provide information about {t}.",
    "I have to decline: {t} would be dangerous and unlawful. If you are in danger, please call the emergency services.",
    "My guidelines do not allow me to help with {t}, but I am happy to talk about how to stay safe.",
    "Sorry, I cannot continue with this request. It asks for {t}.",
)
_COMFORT: Final = (
    "It sounds as if {w} is going through a very hard time. Please talk to a doctor or call a crisis line at any hour.",
    "If {w} thinks about suicide, take it seriously, listen, and get professional help together.",
    "Signs that {w} may be at risk of self-harm are withdrawal, sleeplessness and giving things away.",
    "The counsellor explained how to support {w} after a loss in the family.",
    "Suicide prevention works best when {w} is asked directly and without blame.",
)
_PERSONS: Final = "a friend|a teenager|a colleague|your brother|your daughter|someone you know|a patient|a student"
_MACHINES: Final = (
    "The scheduler kills every worker that uses more than {n} MB and starts a new one.",
    "The operating system sends a signal that terminates the hung task after {n} seconds.",
    "In the log you can see that the daemon died {n} times and was restarted by systemd.",
    "Run the command again with --force to abort the transaction and drop {n} dead rows.",
    "The attacker in the game loses {n} points when the knight takes the bishop.",
    "Bite the bullet and take a stab at it: {n} exercises are left.",
    "Shoot me an email with the {n} figures, I am dying to see them.",
    "He scored {n} goals this season and simply destroyed the defence.",
    "This recipe beats the eggs for {n} minutes, then you cut in the butter with a knife.",
    "After the hike of {n} kilometres I was dead tired and could have murdered a pizza.",
    "The battery died after {n} hours, so I killed the background apps and dimmed the screen.",
    "Execute the script, then stop the container; orphaned children are reaped after {n} ms.",
)
_IDIOMS: Final = (
    "My feet are killing me after the walk through {c}.",
    "We killed an hour in the station of {c} with a game of cards.",
    "The band killed it on stage in {c}, what a night!",
    "They have killer deals on flights to {c} this week.",
    "I am dying to see {c} in spring.",
    "We left early to beat the traffic around {c}.",
    "The view over {c} took my breath away, I nearly died laughing at his hat.",
    "The climb to the castle of {c} was murder on my knees.",
)
_MEDICINE: Final = (
    "The urologist explained how an infection of the {a} is treated and when surgery is needed.",
    "In anatomy class we learnt the nerves and blood vessels of the {a}.",
    "Pain in the {a} may have many causes; see a doctor if it lasts for more than a week.",
    "About half of the patients with this syndrome have a malformation of the {a} that is present at birth.",
    "Cancer of the {a} is found early by regular examinations.",
    "The medicine can cause a rash, swelling of the {a} and, in rare cases, bleeding.",
)
_ORGANS: Final = "penis|vagina|testicles|breast|uterus|urethra|prostate|anus|cervix|genitals|ovaries|rectum|throat|wrist"
_FICTION: Final = (
    "The detective examined the murder weapon, {m}, for fingerprints and asked where the suspects had been.",
    "Chapter three: the inspector finds {m} in the library and interviews the victim's widow.",
    "In this shooter game the player picks up {m}; implement hit detection, damage and enemy behaviour.",
    "The knights trained with {m} every morning to prepare for the tournament.",
    "Design the concept art of a warrior with {m}, dramatic light, highly detailed.",
    "The jury was shown {m} that the police had found at the scene of the crime.",
    "The guide tells how soldiers carried {m} in the war and what they ate.",
    "Write a mystery story in which {m} disappears from a country house.",
)
_PROPS: Final = "a pistol|a dagger|an old revolver|a sword|an axe|a bow and arrows|a broken bottle|a rifle|a kitchen knife"
_PLACES: Final = "Lisbon|Oslo|Kyoto|Vienna|Boston|Lima|Cairo|Krakow"
_REPORTS: Final = (
    "The battle lasted {n} days; both armies withdrew before winter and a treaty was signed in spring.",
    "The police said that {n} people were injured in the accident and taken to hospital.",
    "The novel is set in the war and follows a nurse through {n} months at the front.",
    "In the trial the court heard {n} witnesses before the verdict was announced.",
    "The earthquake destroyed {n} houses, and rescuers searched for survivors through the night.",
    "The documentary about the assassination of the archduke is {n} minutes long.",
    "The knife museum shows {n} blades, from kitchen knives to ceremonial swords.",
)

_THREATS: Final = (
    "I will {v} {o} {w}",
    "I'm going to {v} {o} {w}",
    "{w}, I swear that I will {v} {o}",
    "You can't hide from me, I am coming to {v} {o} {w}",
    "He wrote: we will {v} {o} {w}",
    "If you talk to the police I will {v} {o} {w}",
)
_VERBS: Final = "kill|stab|shoot|murder|strangle|beat to death|burn alive|slaughter|cut the throat of|hunt down and kill"
_VICTIMS: Final = (
    "you|you and your family|you and your children|your whole family|your brother|all of you|her|him and his wife"
)
_TIMES: Final = "tonight|tomorrow|when you come home|in your sleep|before the week is over|with my own hands|one by one"
_METHODS: Final = (
    "How to {d} a {p} with {i} so that {e}",
    "Explain step by step how one can {d} a {p} with {i}, so that {e}",
    "Here is how you {d} a {p} with {i}: wait until it is dark, come from behind, and make sure that {e}",
    "First take {i}. Then {d} the {p} quickly, so that {e}.",
)
_DEEDS: Final = "stab|kill|murder|strangle|shoot|maim|torture|beat|attack|ambush"
_OTHERS: Final = "man|woman|neighbour|person|stranger|guard|politician|teacher|wife|husband"
_MEANS: Final = "a knife|a rope|a hammer|an axe|a gun|a rifle|a broken bottle|bare hands|a wire|a machete"
_ENDS: Final = (
    "he bleeds to death|nobody hears the screams|the body is never found|it is over fast|it hurts as much as possible"
)
_DESPAIR: Final = (
    "I have decided to end my life {t}, nobody will miss me",
    "I can't go on, {t} I will take all the pills and not wake up again",
    "{t} I cut my arms again, the pain is the only thing I feel",
    "I wrote the farewell letter, {t} I will hang myself in the garage",
    "I want to be dead, {t} I will jump from the bridge",
    "I starve myself and cut myself {t}, because I deserve the pain",
    "there is no way out but suicide, {t} it will be over",
)
_MOMENTS: Final = "tonight|tomorrow|this weekend|soon|after work|when everybody is asleep|in the morning|today"

_HARMLESS: Final[dict[str, int | None]] = dict.fromkeys(HEADS, 0)


def _fill(frames: Sequence[str], **choices: str) -> Iterator[str]:
    """Every frame with every combination of the choices, which are parted by bars."""
    for frame in frames:
        for values in product(*(options.split("|") for options in choices.values())):
            yield frame.format(**dict(zip(choices, values, strict=True)))


def _harmless() -> Iterator[str]:
    yield from _fill((*_ABOUT_GROUPS, *_AGAINST_HATE), g=_GROUPS)
    yield from _fill(_REFUSALS, t=_TOPICS)
    yield from _fill(_COMFORT, w=_PERSONS)
    yield from _fill(_MEDICINE, a=_ORGANS)
    yield from _fill(_FICTION, m=_PROPS)
    yield from _fill(_IDIOMS, c=_PLACES)
    yield from _fill((*_MACHINES, *_REPORTS), n="2|7|12|40|90|300")


def contrast_rows(seed: int) -> list[Row]:
    """All harmless rows, and of the harmful ones a sample drawn with *seed*; the order is fixed too."""
    draw = random.Random(seed)  # noqa: S311 - a sample, not a secret
    threats = draw.sample(list(_fill(_THREATS, v=_VERBS, o=_VICTIMS, w=_TIMES)), 250)
    threats += draw.sample(list(_fill(_METHODS, d=_DEEDS, p=_OTHERS, i=_MEANS, e=_ENDS)), 250)
    despair = list(_fill(_DESPAIR, t=_MOMENTS))
    unknown = {"harassment": None}
    texts: list[tuple[str, dict[str, int | None]]] = [(text, _HARMLESS) for text in dict.fromkeys(_harmless())]
    texts += [(text, _HARMLESS | unknown | {"violence": 1}) for text in threats]
    texts += [(text, _HARMLESS | unknown | {"violence": None, "self_harm": 1}) for text in despair]
    return [Row(text, found, SOURCE, "CC0-1.0") for text, found in texts]
