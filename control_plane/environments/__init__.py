"""Projects and their environments, and promoting a flag's configuration between them."""
