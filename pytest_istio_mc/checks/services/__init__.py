"""Services: the users' own, judged from objects and from what istiods hold of them."""
