"""Control: worlds that an agent acts in, many copies at once."""
