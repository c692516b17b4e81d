"""Steps of the guided-diffusion U-Net."""
from guided import Problem
from steps import serve_steps

serve_steps(Problem)
