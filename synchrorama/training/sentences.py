"""Sentences for the synthesisers: written for this project, rich in p, b, m, f, v and w."""

from __future__ import annotations

import random

_SUBJECTS = (
    "the mayor", "my brother", "Pamela", "everyone", "Bob", "the little boy", "a famous woman", "our team", "nobody",
    "the weather", "five people", "Maria", "the bus", "that movie", "you", "we", "they", "the beautiful river",
    "her mother", "William", "the old baker", "some voters", "my best friend", "Phoebe", "the whole family",
)  # fmt: skip
_VERBS = (
    "wants to buy", "may find", "moved above", "has probably made", "will never believe", "promised to bring",
    "could not open", "is waiting for", "always remembers", "improved", "would have painted", "keeps moving",
    "left behind", "pushed", "talks about", "knows", "feels", "should shave", "watched", "loves", "hopes to visit",
    "gave up", "wiped", "fully approves of",
)  # fmt: skip
_OBJECTS = (
    "a purple umbrella", "the map", "more money", "some warm bread", "five big boxes", "the whole problem",
    "a new phone", "music and movies", "the number of votes", "the blue boat", "a bowl of soup", "the children",
    "the window", "my favourite poem", "every mountain", "a very old book", "the voice of the people", "your job",
    "a few apples", "some fresh fish", "a pair of wool gloves", "the top of the hill", "an empty bottle",
)  # fmt: skip
_ENDINGS = (
    "before the evening", "on Monday", "because of the rain", "in the middle of the room", "by the swimming pool",
    "for a moment", "with a smile", "without hope", "at home", "from above", "as soon as possible", "during the war",
    "in February", "over the bridge", "twice a week", "whenever we meet", "by half past five",
)  # fmt: skip

OTHER_LANGUAGES: dict[str, tuple[str, ...]] = {
    "de": (
        "Der Bürgermeister möchte am Montag ein blaues Boot kaufen.",
        "Meine Mutter backt Brot, und wir trinken zusammen einen warmen Kaffee.",
        "Vor dem Bahnhof wartet immer noch der alte Bus.", "Bitte pass auf, dass die Milch nicht überkocht.",
        "Viele Menschen vermissen im Winter die Wärme und das Licht.", "Öffne das Fenster, die Luft ist so schwül.",
    ),
    "es": (
        "Mi hermano prometió comprar pan fresco para toda la familia.",
        "Por favor, abre la ventana porque hace mucho calor.", "El pequeño barco azul pasó bajo el puente viejo.",
        "Nadie recuerda el nombre de aquella película famosa.", "Mañana volveremos a subir a la montaña.",
        "Mi abuela prepara una sopa muy buena con verduras.", "El autobús de las nueve viene siempre vacío.",
    ),
    "fr": (
        "Ma mère prépare une bonne soupe avec des pommes de terre.", "Le petit bateau bleu passe sous le vieux pont.",
        "Nous avons vu un film magnifique pendant les vacances.", "Je voudrais un peu plus de beurre, s'il vous plaît.",
        "Personne ne peut ouvrir la porte du jardin public.",
    ),
    "it": (
        "Mio fratello vuole comprare un ombrello viola prima di sera.", "La vecchia barca blu passa sotto il ponte.",
        "Per favore, apri la finestra perché fa molto caldo.", "Domani mattina partiamo per la montagna.",
        "La nonna prepara una buona zuppa con pomodori e basilico.",
    ),
    "pl": (
        "Mój brat obiecał kupić świeży chleb dla całej rodziny.", "Proszę, otwórz okno, bo jest bardzo ciepło.",
        "Mała niebieska łódka przepłynęła pod mostem.", "Wszyscy pamiętają ten piękny film.",
    ),
    "ru": (
        "Мой брат обещал купить свежий хлеб для всей семьи.", "Пожалуйста, открой окно, потому что очень жарко.",
        "Маленькая лодка проплыла под старым мостом.", "Все помнят этот прекрасный фильм.",
        "Завтра утром мы вместе пойдём к большой реке.", "Бабушка варит вкусный борщ и печёт пироги.",
    ),
    "pt": (
        "Meu irmão prometeu comprar pão fresco para toda a família.", "Abre a janela, por favor, está muito quente.",
        "O pequeno barco azul passou por baixo da ponte velha.", "Amanhã vamos subir a montanha outra vez.",
    ),
    "nl": (
        "Mijn broer wil morgenavond een blauwe boot kopen.", "Doe het raam open, want het is hier erg warm.",
        "De oude bus wacht nog altijd voor het station.", "Wij vinden die film allemaal heel mooi.",
    ),
    "tr": (
        "Kardeşim bütün aile için taze ekmek alacak.", "Lütfen pencereyi aç, çünkü hava çok sıcak.",
        "Küçük mavi tekne eski köprünün altından geçti.", "Yarın sabah hep birlikte dağa çıkacağız.",
    ),
    "ko": (
        "내 동생은 내일 빵과 사과를 살 거예요.", "창문을 열어 주세요, 방이 너무 더워요.",
        "우리는 그 영화를 아주 좋아해요.",
    ),
    "ur": ("میرا بھائی کل بازار سے روٹی لائے گا۔", "براہ کرم کھڑکی کھول دو، بہت گرمی ہے۔"),
    "cmn": (
        "我的妈妈明天要买面包和苹果。", "请你把窗户打开,外面不太冷。", "那部电影非常漂亮,我们都很喜欢。",
        "昨天晚上爸爸和妈妈在桥边慢慢地走路。", "北方的冬天风很大,但是阳光很美。", "这本书一共有八百页,我还没有看完。",
    ),
    "ja": (
        "わたしはあしたパンとりんごをかいます。", "まどをあけてください、へやがあついです。",
        "そのえいがはとてもすばらしかった。", "ふゆのあさはさむくて、ふねはみなとでまっています。",
        "みんなでうみべをゆっくりあるきました。",
    ),
    "hi": ("मेरा भाई बाज़ार से रोटी और फल लाएगा।", "कृपया खिड़की खोल दो, बहुत गर्मी है।", "हम सब मिलकर पुल के पास घूमने गए।"),
}  # fmt: skip


def english_sentence(random_source: random.Random, words: list[str]) -> str:
    """One sentence from the lists above, or a row of dictionary words for sounds that the lists lack."""
    choose = random_source.choice
    if random_source.random() < 0.35 and words:
        return " ".join(choose(words) for _ in range(random_source.randint(5, 12))) + "."
    sentence = f"{choose(_SUBJECTS)} {choose(_VERBS)} {choose(_OBJECTS)} {choose(_ENDINGS)}"
    if random_source.random() < 0.6:
        sentence += f", and {choose(_SUBJECTS)} {choose(_VERBS)} {choose(_OBJECTS)}"
    return sentence[0].upper() + sentence[1:] + "."
