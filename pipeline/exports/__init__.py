"""A dataset's captions in the shapes that others want: tables, text beside images, and training folders."""
