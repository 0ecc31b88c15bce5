"""The pixel payload: block averages, losslessly coded."""
