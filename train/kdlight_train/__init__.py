"""The workshop: teachers, students and the distillation between them; the only floor with torch."""
