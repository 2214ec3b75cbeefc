"""Files of HetRec 2011's Last.fm: tab-separated, with a header, read strictly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from llmrec_peft.plugins import InputError
from llmrec_recipes.byte_lines import encoding_of
from llmrec_recipes.text_files import required_file, text_lines, whole_number

PLAYS, ARTISTS, TAGS, ASSIGNMENTS = "user_artists.dat", "artists.dat", "tags.dat", "user_taggedartists.dat"
_COLUMNS = {
    PLAYS: ("userID", "artistID", "weight"),
    ARTISTS: ("id", "name", "url", "pictureURL"),
    TAGS: ("tagID", "tagValue"),
    ASSIGNMENTS: ("userID", "artistID", "tagID", "day", "month", "year"),
}


@dataclass(frozen=True)
class Plays:
    """How often users listened to artists, in the file's order.

    Attributes:
        user: User of each pair.
        artist: Its artist.
        count: Plays of the pair, from 1.
    """

    user: list[str]
    artist: list[str]
    count: list[int]


def read_artists(folder: Path) -> dict[str, str]:
    """Return the name of each artist by id.

    Raises:
        InputError: Naming file, line and column of the mistake.
    """
    path, artists = required_file(folder, ARTISTS), {}
    for line, (artist, name, _url, _picture) in _rows(path):
        _require_id(artist, path, line, "id")
        if artist in artists:
            raise InputError(f"{path}, line {line}: artist {artist} is there twice")
        if not name.strip():
            raise InputError(f"{path}, line {line}: name is empty")
        artists[artist] = name.strip()
    return artists


def read_plays(folder: Path, artists: dict[str, str]) -> Plays:
    """Return who listened to which of some artists how often.

    Raises:
        InputError: Naming file, line and column of the mistake, such as an artist that ``artists.dat`` lacks.
    """
    path, plays = required_file(folder, PLAYS), Plays([], [], [])
    seen: set[tuple[str, str]] = set()
    for line, (user, artist, weight) in _rows(path):
        _require_id(user, path, line, "userID")
        if artist not in artists:
            raise InputError(f"{path}, line {line}: artistID {artist[:20]!a} is not in {ARTISTS}")
        if (user, artist) in seen:
            raise InputError(f"{path}, line {line}: user {user} and artist {artist} are there twice")
        seen.add((user, artist))
        plays.user.append(user)
        plays.artist.append(artist)
        plays.count.append(whole_number(weight, path, line, "weight", 1))
    if not plays.user:
        raise InputError(f"{path}: there is no row below the header")
    return plays


def read_tags(folder: Path) -> dict[str, str]:
    """Return the text of each tag by id; the owner writes latin-1, a file converted to UTF-8 is read too.

    Raises:
        InputError: Naming file, line and column of the mistake.
    """
    path, tags = required_file(folder, TAGS), {}
    for line, (tag, text) in _rows(path, encoding_of(path, "latin-1")):
        _require_id(tag, path, line, "tagID")
        if tag in tags:
            raise InputError(f"{path}, line {line}: tag {tag} is there twice")
        tags[tag] = text.strip()
    return tags


def read_assignments(folder: Path, tags: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    """Yield (user, artist, tag) of each assignment of some tags; artists may be unknown, days are not read.

    Raises:
        InputError: Naming file, line and column of the mistake, such as a tag that ``tags.dat`` lacks.
    """
    path = required_file(folder, ASSIGNMENTS)
    for line, (user, artist, tag, _day, _month, _year) in _rows(path):
        _require_id(user, path, line, "userID")
        _require_id(artist, path, line, "artistID")
        if tag not in tags:
            raise InputError(f"{path}, line {line}: tagID {tag[:20]!a} is not in {TAGS}")
        yield user, artist, tag


def _rows(path: Path, encoding: str = "utf-8") -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, fields) of the lines below the header.

    Raises:
        InputError: For another header, and for a line that has another number of fields.
    """
    columns = _COLUMNS[path.name]
    for line, text in text_lines(path, encoding):
        fields = text.split("\t")
        if line == 1:
            if tuple(fields) != columns:
                raise InputError(f"{path}, line 1: {text[:60]!a} where the columns {', '.join(columns)} belong")
        elif text:
            if len(fields) != len(columns):
                raise InputError(f"{path}, line {line}: {len(fields)} fields where {len(columns)} belong")
            yield line, fields


def _require_id(text: str, path: Path, line: int, what: str) -> None:
    if not (text.isascii() and text.isdigit()):
        raise InputError(f"{path}, line {line}: {what} {text[:20]!a} is no number of digits")
