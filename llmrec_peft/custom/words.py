"""Words: what people call the columns of users, items, ratings, times and titles, in many languages."""

from __future__ import annotations

import re
import unicodedata

_WORDS: dict[str, str] = {
    "user": "user uid usr reviewer customer client member visitor account person reader player listener viewer buyer"
    " shopper subscriber msno nutzer benutzer kunde kunden kundennr kundennummer utilisateur usager usuario usuária"
    " cliente utente gebruiker klant użytkownik klient användare bruger kullanıcı пользователь покупатель клиент 用户"
    " 用户编号 客户 ユーザー 사용자",
    "item": "item iid movie film asin product article artikel artikelnr artikelnummer sku isbn book song track artist"
    " album game app video news recipe business listing anime goods content produkt produktnr produit producto produto"
    " prodotto article livre libro buch titelnr show podcast course restaurant place poi venue hotel job post story"
    " photo image pin deal offer good merchandise stock ware товар фильм книга 商品 商品编号 物品 电影 アイテム 상품",
    "rating": "rating ratings score stars star overall grade mark vote bewertung sterne note punkte puntuacion"
    " puntuación valoracion valoración calificacion calificación nota voto ocena betyg karakter puan оценка рейтинг"
    " 评分 打分 評価 평점",
    "click": "click clicked like liked likes dislike label target interested converted conversion isclick islike"
    " relevant positive gefällt gekauft bought purchased klick clic 点击 喜欢",
    "count": "count counts plays playcount weight hours freq frequency quantity qty times views watches listens amount"
    " menge anzahl stück nombre cantidad quantité quantità aantal ilość duration watchtime playtime minutes seconds"
    " количество 次数 数量",
    "time": "timestamp time date datetime ts unixtime unix epoch created updated unixreviewtime reviewtime when datum"
    " zeit zeitpunkt zeitstempel uhrzeit fecha hora quand heure horodatage data tijd czas tid tarih дата время 时间"
    " 时间戳 日期 日時 날짜",
    "review": "review reviewtext text comment comments body feedback kommentar rezension commentaire avis comentario"
    " reseña opinion opinión recensione recensie отзыв 评论 レビュー",
    "event": "event action behavior behaviour activity interaction eventtype ereignis aktion acción evento verhalten"
    " действие 行为 事件",
    "title": "title name titel titre título titulo titolo tytuł nombre nome nom naam bezeichnung caption headline label"
    " heading product_name название заголовок 标题 名称 タイトル 제목",
    "id": "id ids key code nr no num number nummer numéro número numero identifier kennung uuid guid index pk 编号",
    "url": "url uri link href image img picture pictureurl imageurl poster thumbnail cover photo icon avatar path file"
    " website homepage bild foto imagen",
    "head": "head subject source from entity1 start h",
    "relation": "relation predicate property edge rel type r",
    "tail": "tail object target to entity2 end t",
    "entity": "entity entityid node concept",
}
_KINDS: dict[str, frozenset[str]] = {}
_SPLIT = re.compile(r"[^\w]+|_+|(?<=[a-zà-ÿ])(?=[A-ZÀ-Ý])|(?<=[A-Z])(?=[A-Z][a-z])")


def parts_of(name: str) -> list[str]:
    """Return the words of a column's name in lower case.

    >>> parts_of("reviewerID"), parts_of("customer_unique_id"), parts_of("Kunden-Nr.")
    (['reviewer', 'id'], ['customer', 'unique', 'id'], ['kunden', 'nr'])
    """
    plain = unicodedata.normalize("NFKC", name)
    return [part.casefold() for part in _SPLIT.split(plain) if part]


def strength(name: str, kind: str) -> int:
    """Return how clearly a column's name says that it is of a kind: 3, the name itself; 2, one of its words; 0, not.

    >>> strength("user_id", "user"), strength("customer_unique_id", "user"), strength("price", "user")
    (3, 2, 0)
    """
    known = _words(kind)
    parts = parts_of(name)
    whole = "".join(parts)
    bare = [part for part in parts if part not in _words("id")] or parts
    if whole in known or "".join(bare) in known:
        return 3
    for ending in ("id", "nr", "no"):  # userid, artikelnr: one word in lower case
        if whole.endswith(ending) and whole.removesuffix(ending) in known:
            return 3
    return 2 if any(part in known for part in bare) else 0


def is_id(name: str) -> bool:
    """Return whether a column's name says that its values are ids.

    >>> is_id("movieId"), is_id("asin"), is_id("title")
    (True, False, False)
    """
    parts = parts_of(name)
    return any(part in _words("id") for part in parts) or "".join(parts).endswith("id")


def _words(kind: str) -> frozenset[str]:
    if not _KINDS:
        _KINDS.update({one: frozenset(words.casefold().split()) for one, words in _WORDS.items()})
    return _KINDS[kind]
