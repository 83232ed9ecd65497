"""The public logs that learec can read, where they are, and their download: resumed, checked, unpacked."""

from dataclasses import dataclass
from pathlib import Path

from learec.data.fetch import Fetch, RemoteFile
from learec.data.unpack import folder_name, unpack
from learec.errors import ConfigError, DataError
from learec.progress import Reporter


@dataclass(frozen=True)
class Dataset:
    """One public log."""

    name: str
    about: str
    size: str | None  # of the files fetched; None where the host publishes none
    licence: str  # as far as known
    page: str
    format: str  # what reads it: `format` of [data] in a recipe
    files: tuple[RemoteFile, ...] = ()
    by_hand: tuple[str, ...] = ()  # names of the files, where the host wants a login


def _movielens(name: str, about: str, size: str, md5: str | None) -> Dataset:
    older = name in ("ml-100k", "ml-1m")
    copies = "passed on under the same terms" if not older else "not passed on without permission"
    licence = f"research only, cite it; not commercial without permission, {copies}"
    page = f"https://grouplens.org/datasets/movielens/{'latest' if 'latest' in name else name.removeprefix('ml-')}/"
    file = RemoteFile(f"https://files.grouplens.org/datasets/movielens/{name}.zip", md5 and f"md5:{md5}")
    return Dataset(name, about, size, licence, page, "movielens", (file,))


def _amazon_2014(name: str, category: str, about: str) -> Dataset:
    host = "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles"
    files = (RemoteFile(f"{host}/reviews_{category}_5.json.gz"), RemoteFile(f"{host}/meta_{category}.json.gz"))
    licence = "none stated: for research, cite McAuley et al. 2015 and He and McAuley 2016"
    page = "https://cseweb.ucsd.edu/~jmcauley/datasets/amazon/links.html"
    return Dataset(name, f"{about}, 5-core, with item texts; days, not times", None, licence, page, "amazon", files)


_UCSD = "https://mcauleylab.ucsd.edu/public_datasets/data"
_TABLE = (
    _movielens("ml-100k", "100,000 film ratings by 943 users, 1997-98", "4.9 MB", "0e33842e24a9c977be4e0107933c0723"),
    _movielens("ml-1m", "1,000,209 film ratings by 6,040 users, 2000-03", "5.9 MB", "c4d9eecfca2ab87c1945afe126590906"),
    _movielens("ml-20m", "20,000,263 film ratings by 138,493 users, to 2015", "198.7 MB", "cd245b17a1ae2cc31bb14903e1204af3"),
    _movielens("ml-25m", "25,000,095 film ratings by 162,541 users, to 2019", "262.0 MB", "6b51fb2759a8657d3bfcbfc42b592ada"),
    _movielens("ml-32m", "32,000,204 film ratings by 200,948 users, to 2023", "239.0 MB", "d472be332d4daa821edc399621853b57"),
    # Its host replaces this file from time to time, so there is no digest to hold it to.
    _movielens("ml-latest-small", "100,836 film ratings by 610 users; may change, not for published results", "1.0 MB", None),
    _amazon_2014("amazon-beauty-2014", "Beauty", "198,502 reviews of beauty products by 22,363 users"),
    _amazon_2014("amazon-sports-2014", "Sports_and_Outdoors", "296,337 reviews of sports goods"),
    _amazon_2014("amazon-toys-2014", "Toys_and_Games", "167,597 reviews of toys"),
    Dataset(
        "amazon-scientific-2018", "reviews of industrial and scientific goods, 5-core, with item texts; days, not times", None,
        "none stated: for research, cite Ni, Li and McAuley 2019",
        "https://cseweb.ucsd.edu/~jmcauley/datasets/amazon_v2/", "amazon",
        (RemoteFile(f"{_UCSD}/amazon_v2/categoryFilesSmall/Industrial_and_Scientific_5.json.gz"),
         RemoteFile(f"{_UCSD}/amazon_v2/metaFiles2/meta_Industrial_and_Scientific.json.gz")),
    ),
    Dataset(
        "amazon-beauty-2023", "701,500 reviews of 112,600 beauty products (All_Beauty) with item texts, to 2023", None,
        "none assigned by the McAuley lab: for research, cite Hou et al. 2024",
        "https://amazon-reviews-2023.github.io/", "amazon",
        (RemoteFile(f"{_UCSD}/amazon_2023/raw/review_categories/All_Beauty.jsonl.gz"),
         RemoteFile(f"{_UCSD}/amazon_2023/raw/meta_categories/meta_All_Beauty.jsonl.gz")),
    ),
    Dataset(
        "lastfm-1k", "19,150,868 plays of tracks by 992 listeners, 2005-09", "672.7 MB",
        "non-commercial use only, with permission of Last.fm; cite Celma 2010",
        "https://zenodo.org/records/6090214", "lastfm",
        (RemoteFile("https://zenodo.org/records/6090214/files/lastfm-dataset-1K.tar.gz",
                    "md5:a79a6808f54f73354789a9fb02cb1e41"),),
    ),
    Dataset(
        "retailrocket", "2,756,101 views, additions to the cart and purchases by 1,407,580 visitors, 2015", None,
        "CC BY-NC-SA 4.0 as far as known; see its page",
        "https://www.kaggle.com/datasets/retailrocket/ecommerce-dataset", "retailrocket",
        by_hand=("events.csv", "item_properties_part1.csv", "item_properties_part2.csv", "category_tree.csv"),
    ),
    Dataset(
        "yoochoose", "33,003,944 clicks and 1,150,753 purchases in 9,249,729 sessions, 2014 (RecSys Challenge 2015)", None,
        "CC BY-NC-ND 4.0 as far as known; see its page",
        "https://www.kaggle.com/datasets/chadgostopp/recsys-challenge-2015", "yoochoose",
        by_hand=("yoochoose-clicks.dat", "yoochoose-buys.dat"),
    ),
)  # fmt: skip
DATASETS = {dataset.name: dataset for dataset in _TABLE}


def download(dataset: Dataset, folder: Path, reporter: Reporter) -> Path:
    """Fetch, check and unpack what is not there yet; the folder that the files to read lie in.

    DataError, in one sentence, if the host wants a login, cannot be reached, or sends something else than published. What
    came of a file stays as NAME.part beside it, and the next call goes on from there.
    """
    if dataset.by_hand:
        return _by_hand(dataset, folder, reporter)
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder}: is a file, wanted a folder for {dataset.name}; name another one")
    folder.mkdir(parents=True, exist_ok=True)
    place = folder
    for file in dataset.files:
        name = folder_name(file.name)
        if name is None:
            Fetch(file, folder, reporter).run()
        else:
            place = folder / name
            _unpacked(file, place, reporter)
    return place


def _unpacked(file: RemoteFile, place: Path, reporter: Reporter) -> None:
    """Fetch an archive and unpack it. Its folder is whole if it is there; the archive may have been deleted since."""
    if place.exists():
        reporter.say(f"{place}: already unpacked; delete it to have it made again")
        return
    unpack(Fetch(file, place.parent, reporter).run(), place)
    reporter.say(f"{place}: unpacked")


def _by_hand(dataset: Dataset, folder: Path, reporter: Reporter) -> Path:
    missing = [name for name in dataset.by_hand if not (folder / name).is_file()]
    if missing:
        raise DataError(
            f"{dataset.name}: its host wants a login, so it cannot be fetched; sign in at {dataset.page}, download "
            f"{', '.join(missing)} and put {'it' if len(missing) == 1 else 'them'}, unpacked, into the folder {folder}"
        )
    reporter.say(f"{folder}: {', '.join(dataset.by_hand)} are here already")
    return folder
