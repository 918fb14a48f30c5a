"""Champion or challenger: false promotions, power and windows to a verdict, of this rule and of others."""
