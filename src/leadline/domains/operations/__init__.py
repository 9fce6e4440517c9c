"""Operations of one kind in one form: what is multiplied by what, and how many edges that makes."""
