"""A simulated music log: invented listeners who play invented tracks. No person, artist or track in it is real.

A track has a genre, a decade, a mood, an artist and an album; the item table says them in words (the mood only through words
of titles and albums). A listener has a stable, sparse taste over genres, decades and moods. A focus on one genre and one mood
of that taste changes every few plays; the last track's album, its artist and the artist filed next to it draw as well; some
tracks are popular with everyone. Nobody plays a track twice. An event's kind is the true preference plus noise.

A number on this log can show that a pipeline works and that a model finds structure known to be there: taste, order, the
meaning of words. It cannot show how good a method is on people: the structure was put in by hand and favours whatever looks
for it, words come from small pools and so tell more than real texts do, and nobody here tires, shares or errs.
"""

from dataclasses import dataclass
from itertools import count

import numpy as np
import numpy.typing as npt
import polars as pl

from learec.config import SimulateConfig
from learec.data.log import Bools, Floats, Ints

# genre: (first decade's number, words for its artists, places and things for its titles)
GENRES = {
    "delta blues": (
        0,
        "Muddy, Catfish, Bottleneck, Cottonwood, Tin Roof, Levee, Whiskey, Barrelhouse, Backwater, Delta",
        "Crossroads, Levee, Back Porch, Freight Yard, Dirt Road, Juke Joint, Muddy River, Jailhouse, Railroad, Whiskey Jar",
    ),
    "bluegrass": (
        0,
        "Ridgeline, Holler, Banjo, Laurel, Copper Creek, Fiddle, Smokehouse, Cumberland, Mandolin, Hayloft",
        "Mountain, Holler, Cabin, Old Mill, Cornfield, Wagon Road, Church Bell, Sawmill, Clear Creek, Barn Door",
    ),
    "bossa nova": (
        0,
        "Copacabana, Guanabara, Ipanema, Samba, Jacaranda, Guitarra, Carioca, Marimba, Corcovado, Tropical",
        "Beach, Balcony, Palm Tree, Sea Breeze, Hammock, Harbor, Tide, Veranda, Mango Tree, White Sand",
    ),
    "soul": (
        0,
        "Velour, Tabernacle, Satin, Groove, Brass, Eastside, Gospel, Sugar, Honeydew, Heartstring",
        "Choir, Altar, Telephone, Sunday Morning, Front Door, Sweet Talk, Wedding Ring, Street Corner, Promise, Kitchen",
    ),
    "psychedelic rock": (
        0,
        "Marmalade, Kaleidoscope, Paisley, Crystal, Cosmic, Lysergic, Incense, Mushroom, Peacock, Prism",
        "Looking Glass, Rainbow, Third Eye, Carousel, Garden Gate, Caterpillar, Astral Plane, Hookah, Labyrinth, Painted Sky",
    ),
    "disco": (
        1,
        "Mirrorball, Glitter, Roller, Sequin, Studio, Champagne, Boogie, Neon Heel, Spotlight, Saturday",
        "Dance Floor, Mirror Ball, Limousine, Roller Rink, Discotheque, Velvet Rope, Saturday Night, Platform, Strobe",
    ),
    "doom metal": (
        1,
        "Obsidian, Crypt, Funeral, Iron, Monolith, Serpent, Wormwood, Blackened, Cathedral, Gravestone",
        "Crypt, Abyss, Throne, Gallows, Tomb, Blood Altar, Iron Crown, Witch, Catacomb, Black Mountain",
    ),
    "synthpop": (
        2,
        "Chrome, Pixel, Electric, Vector, Plastic, Laser, Modular, Digital, Hologram, Circuit",
        "Machine, Computer, Satellite, Neon Sign, Video Screen, Robot, Answering Machine, Motorway, Circuit, Laser",
    ),
    "shoegaze": (
        2,
        "Pedal, Blur, Feedback, Haze, Gauze, Reverb, Pale, Swoon, Static, Cotton Candy",
        "Haze, Feedback, Blur, Undertow, Ceiling, Static, Soft Focus, Eyelid, Snowblind, Swirl",
    ),
    "boom bap hip hop": (
        2,
        "Cipher, Concrete, Turntable, Borough, Vinyl, Backspin, Microphone, Stoop, Graffiti, Breakbeat",
        "Block, Subway, Mic, Corner Store, Turntable, Hustle, Fire Escape, Spray Can, Cypher, Rooftop",
    ),
    "ambient techno": (
        3,
        "Glacial, Drone, Sine, Orbital Dust, Granular, Lattice, Isotope, Subzero, Signal, Null",
        "Orbit, Glacier, Pulse, Frequency, Particle, Transmission, Horizon, Grid, Deep Field, Signal",
    ),
}
# mood: (adjectives, nouns); no word stands under two moods, so that one word already tells it
MOODS = {
    "melancholic": (
        "Lonely, Fading, Weeping, Empty, Forsaken, Rainy, Heartbroken, Abandoned, Sorrowful, Grey, Bitter",
        "Rain, Tears, Goodbye, Ashes, Regret, Autumn, Farewell, Shadows, Widow, Heartache, Letters",
    ),
    "joyful": (
        "Happy, Golden, Sunny, Laughing, Bright, Merry, Carefree, Smiling, Glad, Jubilant, Sparkling",
        "Sunshine, Holiday, Laughter, Parade, Picnic, Party, Balloons, Daisies, Hooray, Summer, Carnival",
    ),
    "angry": (
        "Furious, Broken, Savage, Burning, Ruthless, Violent, Poisoned, Raging, Hateful, Cruel, Bloody",
        "Fist, Fire, War, Revenge, Riot, Thunder, Knife, Venom, Wreckage, Fury, Hammer",
    ),
    "tender": (
        "Gentle, Darling, Warm, Beloved, Sweet, Soft, Faithful, Blushing, Precious, Quiet, Devoted",
        "Kiss, Lullaby, Embrace, Whisper, Valentine, Cradle, Sweetheart, Roses, Touch, Caress, Promises",
    ),
    "dreamy": (
        "Drifting, Floating, Silver, Moonlit, Hazy, Sleeping, Weightless, Misty, Starlit, Lucid, Velvet",
        "Dream, Clouds, Moonlight, Slumber, Mirage, Stardust, Feather, Reverie, Fog, Constellation, Halo",
    ),
    "restless": (
        "Running, Midnight, Wandering, Sleepless, Reckless, Runaway, Speeding, Homeless, Outbound, Rolling, Hurried",
        "Highway, Suitcase, Getaway, Engine, Stranger, Exit, Miles, Headlights, Horizon Line, Escape, Drifter",
    ),
    "triumphant": (
        "Rising, Mighty, Victorious, Glorious, Unbroken, Fearless, Shining, Proud, Royal, Invincible, Heroic",
        "Crown, Banner, Victory, Glory, Champion, Eagle, Kingdom, Trumpet, Hero, Summit, Anthem",
    ),
    "eerie": (
        "Haunted, Crooked, Hollow, Buried, Whispering, Cold, Ghostly, Cursed, Withered, Nameless, Sinister",
        "Ghost, Raven, Bones, Phantom, Lantern, Graveyard, Omen, Wolf, Cobweb, Nightmare, Scarecrow",
    ),
}
ERAS = {
    1960: "Jukebox, Drive-In, Milkshake, Transistor Radio, Moonshot, Telegram, Convertible, Hula Hoop, Flower Power, Soda Bar",
    1970: "Eight-Track, Lava Lamp, Station Wagon, Shag Carpet, CB Radio, Oil Crisis, Bell Bottoms, Disco Ball, Pinball, Waterbed",
    1980: "Arcade, Cassette, Headphones, VHS, Boombox, Cold War, Leg Warmers, Shopping Mall, Pay Phone, Joystick",
    1990: "Pager, Dial-Up Modem, Mixtape, Compact Disc, Skatepark, Millennium Bug, Camcorder, Floppy Disk, Flannel, Chat Room",
    2000: "Ringtone, Flip Phone, Chat Window, DVD, Blog, Hybrid Car, Memory Stick, Webcam, MP3, Burned CD",
    2010: "Selfie, Timeline, Hashtag, Drone Camera, Electric Scooter, Playlist, Group Chat, Touchscreen, Podcast, Wi-Fi",
}
BANDS = "Assembly, Cousins, Regulars, Lanterns, Sparrows, Tailors, Pilgrims, Ferrymen, Orchard, Committee, Herons, Almanac"
LEADERS = "Odell, Maribel, Tobias, Henrike, Cassius, Leocadia, Bram, Philippa, Anselm, Zuri, Matteus, Ottoline"
TITLES = "{adjective} {noun}, {adjective} {thing}, {noun} by the {thing}, {noun} and the {era}, {adjective} {noun} on the {thing}"
ALBUMS = "{adjective} {thing}, {era} and {noun}, Songs of {noun}, The {adjective} {era}, {thing} and {noun}"
ARTISTS = "The {flavour} {band}, {leader} and the {flavour} {band}, {flavour} {band}"

TASTE_SHARES = (0.5, 0.15, 0.35)  # of genre, decade and mood in the true preference
SPARSITY = (0.25, 0.5, 0.3)  # Dirichlet concentrations; at 0.25 two or three genres make up most of a taste
TASTE, FOCUS_GENRE, FOCUS_MOOD, POPULARITY = 7.0, 2.2, 1.4, 0.7  # weights in the logits of a choice
ALBUM, ARTIST = 0.6, 2.0  # logits, too: same album, same artist as the last track
NEXT_ARTIST, TEMPERATURE = 2.0, 1.0  # to the artist filed next, never back: a model that reads histories as sets cannot know it
STRETCH, SHORTEST = 4, 5  # mean plays under one focus; fewest plays, so that a history is left when two are held out
TRACKS_PER_ARTIST, TRACKS_PER_ALBUM = 6, 5
SKIPPED, LIKED, NOISE = 0.2, 0.25, 0.7  # shares of all events; noise beside a standardised preference


@dataclass(frozen=True)
class Simulation:
    """A log, its item table and the truth behind them.

    events: listener_id, track_id, time (unix seconds, strictly increasing per listener), event ("skip", "play", "like"),
    sorted by listener and time. items: track_id, title, artist, album, genre, year. preferences: (listeners, tracks) in
    0..1, rows in the order of the sorted listener ids, columns in the order of the items table's rows; what a listener
    likes in the long run, without focus, stickiness and popularity.
    """

    events: pl.DataFrame
    items: pl.DataFrame
    preferences: npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Tracks:
    """What is true of each track, (T,) each, in numbers; filed by genre, then decade, then artist, then album."""

    genre: Ints
    era: Ints
    mood: Ints
    artist: Ints  # 0.. without gaps, as album
    album: Ints
    year: Ints
    popularity: Floats


def simulate(config: SimulateConfig, seed: int) -> Simulation:
    """Make the log of this config and seed; the same arguments give identical frames.

    A history has 5 plays or more, config.mean_plays on average, and at most half of the tracks (a small catalogue: fewer).
    """
    rng = np.random.default_rng(seed)
    tracks = _tracks(config.tracks, rng)
    items = _items(tracks, rng)
    genres, eras, moods = (  # (U, kinds) each
        rng.dirichlet(np.full(kinds, sparsity), config.listeners).astype(np.float32)
        for kinds, sparsity in zip((len(GENRES), len(ERAS), len(MOODS)), SPARSITY, strict=True)
    )
    share = np.array(TASTE_SHARES, dtype=np.float32)
    preferences = share[0] * genres[:, tracks.genre] + share[1] * eras[:, tracks.era] + share[2] * moods[:, tracks.mood]
    lengths = _lengths(config, rng)
    starts = rng.random((config.listeners, lengths.max())) < 1 / STRETCH  # a new focus from this play on, (U, L)
    starts[:, 0] = True
    focus = _focus(genres, starts, rng), _focus(moods, starts, rng)
    played = _played(tracks, preferences, lengths, focus, rng)
    return Simulation(_events(played, starts, preferences, items["track_id"], rng), items, preferences)


def _tracks(n_tracks: int, rng: np.random.Generator) -> _Tracks:
    n_artists = n_tracks // TRACKS_PER_ARTIST
    genre = rng.integers(len(GENRES), size=n_artists)
    era = rng.integers(np.array([first for first, _, _ in GENRES.values()])[genre], len(ERAS))
    genre, era = np.stack([genre, era])[:, np.lexsort([era, genre])]
    renown = rng.normal(size=n_artists)
    shares = np.exp(0.8 * renown)
    more = rng.choice(n_artists, n_tracks - n_artists, p=shares / shares.sum())
    artist = np.sort(np.concatenate([np.arange(n_artists), more]))  # every artist has at least one track
    opens_album = (np.arange(n_tracks) - np.searchsorted(artist, artist)) % TRACKS_PER_ALBUM == 0
    album = np.cumsum(opens_album) - 1
    artist_of_album, n_albums = artist[opens_album], int(opens_album.sum())
    leanings = rng.integers(len(MOODS), size=(n_artists, 2))
    album_mood = leanings[artist_of_album, (rng.random(n_albums) < 0.3).astype(int)]
    mood = np.where(rng.random(n_tracks) < 0.8, album_mood[album], rng.integers(len(MOODS), size=n_tracks))
    year = np.array(list(ERAS))[era[artist_of_album]] + rng.integers(10, size=n_albums)
    popularity = (rng.normal(size=n_tracks) + 0.5 * renown[artist]).astype(np.float32)  # normal logits: log-normal counts
    return _Tracks(genre[artist], era[artist], mood, artist, album, year[album], popularity)


def _items(tracks: _Tracks, rng: np.random.Generator) -> pl.DataFrame:
    first_of_album = np.unique(tracks.album, return_index=True)[1]
    first_of_artist = np.unique(tracks.artist, return_index=True)[1]
    titles = _names(TITLES, np.arange(len(tracks.album)), tracks, tracks.artist, rng)
    albums = _names(ALBUMS, first_of_album, tracks, tracks.artist, rng)[tracks.album]
    artists = _names(ARTISTS, first_of_artist, tracks, np.zeros_like(tracks.artist), rng)[tracks.artist]
    columns = {"title": titles, "artist": artists, "album": albums, "genre": np.array(list(GENRES))[tracks.genre]}
    return pl.DataFrame({"track_id": _ids("track", len(titles)), **columns, "year": tracks.year.astype(np.int64)})


def _names(forms: str, rows: Ints, tracks: _Tracks, scope: Ints, rng: np.random.Generator) -> npt.NDArray[np.str_]:
    """Name each of these tracks (or what it is the first of) so that no name comes twice in a scope."""
    names: dict[tuple[int, str], None] = {}
    for row in rows.tolist():
        key, attempts = (int(scope[row]), _name(forms, row, tracks, rng)), count(2)
        while key in names:  # a huge catalogue uses the words up; then a number at the end makes the name new
            attempt = next(attempts)
            key = key[0], _name(forms, row, tracks, rng) + (f" {attempt}" if attempt > 20 else "")
        names[key] = None
    return np.array([name for _, name in names])


def _name(forms: str, row: int, tracks: _Tracks, rng: np.random.Generator) -> str:
    _, flavour, thing = list(GENRES.values())[int(tracks.genre[row])]
    adjective, noun = list(MOODS.values())[int(tracks.mood[row])]
    era = list(ERAS.values())[int(tracks.era[row])]
    pools = {"flavour": flavour, "thing": thing, "adjective": adjective, "noun": noun, "era": era, "band": BANDS}
    options = {role: pool.split(", ") for role, pool in (pools | {"leader": LEADERS, "form": forms}).items()}
    words = {role: choices[int(rng.integers(len(choices)))] for role, choices in options.items()}
    return words.pop("form").format(**words)


def _ids(kind: str, n: int) -> list[str]:
    width = max(4, len(str(n - 1)))  # as text they sort in the order of their numbers
    return [f"{kind}-{number:0{width}}" for number in range(n)]


def _lengths(config: SimulateConfig, rng: np.random.Generator) -> Ints:
    more = rng.negative_binomial(3, 3 / (3 + config.mean_plays - SHORTEST), size=config.listeners)
    return np.minimum(SHORTEST + more, min(3 * config.mean_plays + 4, config.tracks // 2))


def _focus(taste: Floats, starts: Bools, rng: np.random.Generator) -> Ints:
    """Draw the kind in focus from the taste where a stretch starts and keep it until the next start, (U, L)."""
    draws = rng.random(starts.shape)[:, :, None] > taste.cumsum(axis=1)[:, None, :-1]  # inverse of the distribution function
    began = np.maximum.accumulate(np.where(starts, np.arange(starts.shape[1]), 0), axis=1)
    return np.take_along_axis(draws.sum(axis=2), began, axis=1)


def _played(tracks: _Tracks, preferences: Floats, lengths: Ints, focus: tuple[Ints, Ints], rng: np.random.Generator) -> Ints:
    """Let everyone choose, play by play: track rows in order of play, (U, L), -1 after the end."""
    order = np.argsort(-lengths, kind="stable")  # who still listens is then always a prefix
    logits = (TASTE * preferences + POPULARITY * tracks.popularity)[order]  # (U, T)
    by_genre = np.float32(FOCUS_GENRE) * (tracks.genre == np.arange(len(GENRES))[:, None])  # (kinds, T)
    by_mood = np.float32(FOCUS_MOOD) * (tracks.mood == np.arange(len(MOODS))[:, None])
    genre, mood = focus[0][order], focus[1][order]
    played = np.full(genre.shape, -1)
    for step in range(lengths.max()):
        n = int((lengths > step).sum())
        now = logits[:n] + by_genre[genre[:n, step]] + by_mood[mood[:n, step]]
        if step:
            now += _stickiness(tracks, played[:n, step - 1])
        waiting = np.maximum(rng.standard_exponential(now.shape, dtype=np.float32), np.float32(1e-30))
        chosen = (now / np.float32(TEMPERATURE) - np.log(waiting)).argmax(axis=1)  # a draw from the softmax (Gumbel's trick)
        played[:n, step] = chosen
        logits[np.arange(n), chosen] = -np.inf
    return played[np.argsort(order)]


def _stickiness(tracks: _Tracks, last: Ints) -> Floats:
    """Say how much each track draws after the last one, (n, T)."""
    album, artist, genre = tracks.album[last][:, None], tracks.artist[last][:, None], tracks.genre[last][:, None]
    pull: Floats = np.float32(ALBUM) * (tracks.album == album) + np.float32(ARTIST) * (tracks.artist == artist)
    pull += np.float32(NEXT_ARTIST) * ((tracks.artist == artist + 1) & (tracks.genre == genre))
    return pull


def _events(played: Ints, starts: Bools, preferences: Floats, track_ids: pl.Series, rng: np.random.Generator) -> pl.DataFrame:
    listener, step = np.nonzero(played >= 0)  # row by row: sorted by listener, then by step
    track = played[listener, step]
    spread = np.maximum(preferences.std(axis=1, keepdims=True), 1e-6)  # a tiny catalogue may hold nothing of one's taste
    standard = (preferences - preferences.mean(axis=1, keepdims=True)) / spread
    enjoyment = standard[listener, track] + NOISE * rng.normal(size=len(track))
    kind = np.digitize(enjoyment, np.quantile(enjoyment, [SKIPPED, 1 - LIKED]))
    pause = np.where(starts, rng.integers(3_600, 4 * 86_400, size=starts.shape), rng.integers(120, 400, size=starts.shape))
    begin = 1_672_531_200 + rng.integers(365 * 86_400, size=(len(played), 1))  # somewhere in 2023
    time = (begin + pause.cumsum(axis=1))[listener, step].astype(np.int64)
    names, kinds = np.array(_ids("listener", len(played)))[listener], np.array(["skip", "play", "like"])[kind]
    return pl.DataFrame({"listener_id": names, "track_id": track_ids.gather(track), "time": time, "event": kinds})
