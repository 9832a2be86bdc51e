"""Which assumption explains speed: constants in every optimizer's own coordinates, and the board that scores them."""
