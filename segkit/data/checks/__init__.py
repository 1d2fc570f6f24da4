"""What looks wrong in a data set that can be read: `segkit check` shows it."""
