"""Stand-ins for modules of Kaggle's image, which notebooks import by their usual names."""
