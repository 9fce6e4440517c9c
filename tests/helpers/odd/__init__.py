"""Odd models, odd inputs and odd arguments, and what any public function must do with them."""
