"""SynchroRaMa: one face photo and one speech recording become a talking video."""
