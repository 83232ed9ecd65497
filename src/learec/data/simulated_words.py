"""Words of the simulated log: pools for names of invented artists, albums and tracks, by genre, mood and decade."""

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
