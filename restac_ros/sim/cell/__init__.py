"""A plug-insertion cell in MuJoCo: a Franka arm, a compliant grasp, a socket with a hidden hole."""
