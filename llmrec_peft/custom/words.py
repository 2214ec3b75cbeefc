"""Words: what people call the columns of users, items, ratings, times and titles, in many languages."""

from __future__ import annotations

import re
import unicodedata

from llmrec_peft.unspaced import is_unspaced

_WORDS: dict[str, str] = {
    "user": "user uid usr reviewer customer client member visitor account person reader player listener viewer buyer"
    " shopper subscriber msno nutzer benutzer kunde kunden kundennr kundennummer utilisateur usager usuario usuária"
    " cliente utente gebruiker klant użytkownik klient användare bruger kullanıcı пользователь покупатель клиент 用户"
    " 用户编号 用户名 客户 顾客 会员 买家 读者 观众 听众 玩家 用戶 使用者 客戶 會員 買家 ユーザー 사용자",
    "item": "item iid movie film asin product article artikel artikelnr artikelnummer sku isbn book song track artist"
    " album game app video news recipe business listing anime goods content produkt produktnr produit producto produto"
    " prodotto article livre libro buch titelnr show podcast course restaurant place poi venue hotel job post story"
    " photo image pin deal offer good merchandise stock ware товар фильм книга 商品 商品编号"
    " 物品 产品 电影 影片 图书 书籍 音乐 歌曲 歌手 艺人 游戏 视频 新闻 文章 店铺 餐厅 課程"
    " 课程 應用 应用 產品 電影 圖書 遊戲"
    " 影片编号 アイテム 상품",
    "rating": "rating ratings score stars star overall grade mark vote bewertung sterne note punkte puntuacion"
    " puntuación valoracion valoración calificacion calificación nota voto ocena betyg karakter puan оценка рейтинг"
    " 评分 打分 得分 分数 评级 星级 評分 分數 評価 평점",
    "click": "click clicked like liked likes dislike label target interested converted conversion isclick islike"
    " relevant positive gefällt gekauft bought purchased klick clic 点击 点赞 喜欢 收藏 购买 點擊 按讚 喜歡 收藏 購買",
    "count": "count counts plays playcount weight hours freq frequency quantity qty times views watches listens amount"
    " menge anzahl stück nombre cantidad quantité quantità aantal ilość duration watchtime playtime minutes seconds"
    " количество 次数 数量 时长 次數 數量 時長",
    "time": "timestamp time date datetime ts unixtime unix epoch created updated unixreviewtime reviewtime when datum"
    " zeit zeitpunkt zeitstempel uhrzeit fecha hora quand heure horodatage data tijd czas tid tarih дата время 时间"
    " 时间戳 日期 時間 時間戳 日時 날짜",
    "review": "review reviewtext text comment comments body feedback kommentar rezension commentaire avis comentario"
    " reseña opinion opinión recensione recensie отзыв 评论 评价 短评 影评 書評 书评 評論 評價 レビュー",
    "event": "event action behavior behaviour activity interaction eventtype ereignis aktion acción evento verhalten"
    " действие 行为 操作 事件 行為",
    "title": "title name titel titre título titulo titolo tytuł nombre nome nom naam bezeichnung caption headline label"
    " heading product_name название заголовок 标题 名称 名字 片名 书名 歌名 標題 名稱 書名 タイトル 제목",
    "id": "id ids key code nr no num number nummer numéro número numero identifier kennung uuid guid index pk 编号 代码"
    " 标识 編號 代碼 番号",
    "url": "url uri link href image img picture pictureurl imageurl poster thumbnail cover photo icon avatar path file"
    " website homepage bild foto imagen",
    "head": "head subject source from entity1 start h",
    "relation": "relation predicate property edge rel type r",
    "tail": "tail object target to entity2 end t",
    "entity": "entity entityid node concept",
}
_KINDS: dict[str, frozenset[str]] = {}
_ID_ENDINGS = ("id", "编号", "編號")
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
    >>> strength("用户ID", "user"), strength("电影名称", "title"), strength("用户评分", "user")
    (3, 2, 0)
    """
    known = _words(kind)
    parts = parts_of(name)
    whole = "".join(parts)
    bare = [part for part in parts if part not in _words("id")] or parts
    if whole in known or "".join(bare) in known:
        return 3
    for ending in ("id", "nr", "no", "编号", "編號", "代码", "标识"):  # userid, artikelnr, 影片编号: one word
        if whole.endswith(ending) and whole.removesuffix(ending) in known:
            return 3
    if is_unspaced(whole) and any(whole.endswith(word) for word in known if is_unspaced(word)):
        return 2  # 电影名称, 用户评分: the last word says what it is
    return 2 if any(part in known for part in bare) else 0


def is_id(name: str) -> bool:
    """Return whether a column's name says that its values are ids.

    >>> is_id("movieId"), is_id("asin"), is_id("title")
    (True, False, False)
    """
    parts = parts_of(name)
    return any(part in _words("id") for part in parts) or "".join(parts).endswith(_ID_ENDINGS)


def _words(kind: str) -> frozenset[str]:
    if not _KINDS:
        _KINDS.update({one: frozenset(words.casefold().split()) for one, words in _WORDS.items()})
    return _KINDS[kind]
