"""What is asked of every image: templates over the manifest's columns, and the conversation they make."""
